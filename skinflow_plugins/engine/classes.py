"""vLLM's model classes of the dynamic families, each made when vLLM asks this module for it by name."""

from __future__ import annotations

from functools import cache
from typing import Any

from skinflow_plugins.engine.model import EngineModel
from skinflow_plugins.engine.plugin import known


def __getattr__(name: str) -> Any:
    if name.startswith("Skinflow") and name in (families := known()):
        return _make(name, families[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _make(name: str, family: Any) -> type:
    from vllm.model_executor.models import ModelRegistry

    from skinflow_plugins.engine.seams import ENGINE_SEAMS

    base: Any = ModelRegistry._try_load_model_cls(family.architectures[0])
    body = {
        "skinflow_base": family,
        "skinflow_engine": ENGINE_SEAMS[family.name],
        "__module__": __name__,
        "__doc__": f"vLLM's {base.__name__} with a dynamic vision encoder.",
    }
    return type(name, (EngineModel, base), body)

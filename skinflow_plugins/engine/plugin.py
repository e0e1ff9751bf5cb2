"""The entry point of vLLM's plug-ins: makes vLLM and transformers know the dynamic families.

vLLM calls `register` in each of its processes, whatever model it serves, and lets its exceptions through; so
it is quick, repeats without harm, and never fails because of somebody's broken plug-in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from skinflow_plugins.engine.seams import ENGINE_SEAMS
from skinflow_plugins.errors import SkinflowError
from skinflow_plugins.models.families import FAMILIES, BaseFamily
from skinflow_plugins.orphans import end_with_parent

_CLASSES = "skinflow_plugins.engine.classes"


def register() -> None:
    """Register every dynamic family with vLLM, by name: its model is imported when it is used."""
    end_with_parent()  # vLLM's engine and workers outlive a killed server otherwise, and keep their memory
    from vllm import ModelRegistry

    from skinflow_plugins.models.dynamic import register as register_with_transformers

    for family in register_with_transformers(bases()):
        seam = ENGINE_SEAMS.get(family.base.name)
        if seam is not None and seam.image_tokens_see_all:
            family.config_class.is_mm_prefix_lm = True  # type: ignore[attr-defined]
    for name in known():
        ModelRegistry.register_model(name, f"{_CLASSES}:{name}")


def known() -> Mapping[str, BaseFamily]:
    """Our architectures that vLLM can run, and the base families that they are made from."""
    return {
        f"Skinflow{family.architectures[0]}": family
        for family in bases()
        if family.seam is not None and family.name in ENGINE_SEAMS
    }


def bases() -> list[BaseFamily]:
    """Every base family of the catalogue; the built-in ones where the catalogue cannot be made."""
    from skinflow_plugins.catalogue import catalogue

    try:
        return [entry.value for entry in catalogue().table("base_models").values()]
    except SkinflowError as error:
        logging.getLogger("vllm.skinflow").warning("only built-in families are registered: %s", error)
        return list(FAMILIES)

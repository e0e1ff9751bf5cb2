"""vLLM's door: what `register` makes known, and what it leaves alone."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch

from skinflow_plugins.errors import InputError
from skinflow_plugins.models import FAMILIES

pytestmark = pytest.mark.vllm

OURS = {f"Skinflow{family.architectures[0]}" for family in FAMILIES}


def test_the_entry_point() -> None:
    from skinflow_plugins.engine.plugin import register

    (found,) = [each for each in entry_points(group="vllm.general_plugins") if each.name == "skinflow"]
    assert found.load() is register


def test_every_family_has_a_place_in_vllm() -> None:
    from skinflow_plugins.engine.plugin import known
    from skinflow_plugins.engine.seams import ENGINE_SEAMS

    assert set(ENGINE_SEAMS) == {family.name for family in FAMILIES}
    assert set(known()) == OURS
    for family in FAMILIES:
        assert set(ENGINE_SEAMS[family.name].linears) == set(family.seam.projections)


LAZY = """
import json, sys
from vllm import ModelRegistry
from skinflow_plugins.engine.plugin import register
before, plain = set(sys.modules), set(ModelRegistry.models)
register()
after = {name: repr(ModelRegistry.models[name]) for name in set(ModelRegistry.models) - plain}
register()
print(json.dumps({
    "models": after,
    "again": after == {name: repr(ModelRegistry.models[name]) for name in after},
    "count": len(ModelRegistry.models) - len(plain),
    "imported": sorted(set(sys.modules) - before),
    "all": sorted(sys.modules),
}))
"""


def test_registering_is_lazy_and_repeats_without_harm(tmp_path: Path) -> None:
    """vLLM calls it in each of its processes, also for models of others."""
    done = subprocess.run(
        [sys.executable, "-c", LAZY], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert set(found["models"]) == OURS
    assert found["again"]
    assert found["count"] == len(OURS)
    for name, entry in found["models"].items():
        assert (
            entry
            == f"_LazyRegisteredModel(module_name='skinflow_plugins.engine.classes', class_name='{name}')"
        )
    assert [name for name in found["imported"] if name.startswith("vllm.model_executor.models.")] == []
    assert [name for name in found["all"] if name.partition(".")[0] in ("swift", "trl", "peft")] == []
    never = {"skinflow_plugins.engine.classes", "skinflow_plugins.engine.model", "skinflow_plugins.bridge"}
    assert never.isdisjoint(found["all"])


def test_a_broken_catalogue_leaves_the_built_in_families(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from vllm import ModelRegistry

    from skinflow_plugins import catalogue
    from skinflow_plugins.engine.plugin import bases, register

    def broken() -> Any:
        raise InputError("the name 'llava' is claimed twice")

    monkeypatch.setattr(catalogue, "catalogue", broken)
    for name in OURS:
        monkeypatch.delitem(ModelRegistry.models, name, raising=False)
    with caplog.at_level(logging.WARNING, logger="vllm.skinflow"):
        register()
    assert set(ModelRegistry.models) >= OURS
    assert bases() == list(FAMILIES)
    assert "only built-in families are registered: the name 'llava' is claimed twice" in caplog.text


def test_classes_are_made_once_and_by_name() -> None:
    from skinflow_plugins.engine import classes
    from skinflow_plugins.engine.model import EngineModel

    for name in OURS:
        made = getattr(classes, name)
        assert made is getattr(classes, name)
        assert issubclass(made, EngineModel)
        assert made.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'SkinflowBertModel'"):
        classes.SkinflowBertModel  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'LlavaForConditionalGeneration'"):
        classes.LlavaForConditionalGeneration  # noqa: B018


def test_vllm_takes_them_for_what_they_are() -> None:
    from vllm import ModelRegistry

    from skinflow_plugins.engine.plugin import register

    register()
    for family in FAMILIES:
        name = f"Skinflow{family.architectures[0]}"
        made = ModelRegistry._try_load_model_cls(name)
        plain = ModelRegistry._try_load_model_cls(family.architectures[0])
        assert issubclass(made, plain)
        assert made._processor_factory == plain._processor_factory


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ([[1, 4, 6]], [0, 24]),
        ([[1, 4, 6], [1, 2, 2], [1, 8, 4]], [0, 24, 28, 60]),
        ([[3, 2, 4]], [0, 8, 16, 24]),
        ([[1, 2, 2], [2, 4, 4], [1, 2, 2]], [0, 4, 20, 36, 40]),
    ],
)
@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_segments(grid: list[list[int]], expected: list[int], kind: Any) -> None:
    """Each frame is an image, as in the trainer."""
    from skinflow_plugins.engine.model import segments_of

    found = segments_of(kind(grid), torch.device("cpu"))
    assert found.tolist() == expected
    assert found.dtype == torch.int32

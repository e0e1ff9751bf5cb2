"""swift trains exactly the parts that `tuning:` names: seen in what a real stage has changed or adapted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.checkpoints import keep_module_names
from skinflow_plugins.bridge.run import prepare_run
from skinflow_plugins.bridge.train import train
from skinflow_plugins.bridge.workspace import open_workspace

pytestmark = pytest.mark.slow

FULL, LORA = {"language", "tower", "projector", "routers"}, {"lora:language", "routers"}
TRAINED = {
    ("full", "trained"): FULL,
    ("full", "frozen"): FULL - {"tower"},
    ("lora", "trained"): LORA | {"lora:tower", "lora:projector"},
    ("lora", "frozen"): LORA,
    ("routers", "frozen"): {"routers"},
    ("routers", "trained"): {"tower", "routers"},
}


def part(name: str) -> str:
    """The part of a tiny Qwen2.5-VL that a tensor of this name belongs to."""
    lora = "lora:" if ".lora_" in name else ""
    if ".dve_router." in name:
        return f"{lora}routers"
    if "visual.merger." in name:
        return f"{lora}projector"
    return f"{lora}tower" if "visual." in name else f"{lora}language"


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found


@pytest.mark.parametrize(("tuner", "encoder"), TRAINED)
def test_exactly_these_parts_are_trained(
    tuner: str, encoder: str, read: Callable[..., Any], swift: None, tmp_path: Path
) -> None:
    loaded, known = read(
        "model.vision.encoder=dve",
        f"tuning={{tuner: {tuner}, encoder: {encoder}, router_learning_rate: 1.0e-2}}",
        # two steps of training, then two that begin with what these have left
        *(
            f"stages.{name}.swift.{key}=2"
            for name in ("warmup", "caption")
            for key in ("max_steps", "save_steps")
        ),
        "swift.lr_scheduler_type=constant",
        "swift.lora_dropout=0",  # else policy and reference differ by chance
        "stages.caption.gate=null",
        "stages.diagnosis=null",
    )
    keep_module_names()  # before the base is written, whose names are compared with those of checkpoints
    with open_workspace(tmp_path / "run", loaded.mapping) as workspace:
        plan, _ = prepare_run(loaded, known, tmp_path / "run")
        for stage in plan.stages:
            train(plan, stage, workspace, lambda _: None)
    first, second = (Path(plan.folder(stage)) / "final" for stage in plan.stages)
    base, after = tensors(Path(plan.base)), tensors(first)
    names = {name.removeprefix("base_model.model."): name for name in after}
    changed = {
        part(short)
        for short, name in names.items()
        if short not in base or not after[name].equal(base[short])
    }
    assert changed == TRAINED[tuner, encoder]
    routers = {short for short in names if part(short) == "routers"}
    assert routers == {name for name in base if part(name) == "routers"}
    heads = [short for short in routers if short.endswith(("_weight", "_bias")) and "band" in short]
    # Adam's first step is the learning rate; the routers' is twice that of the rest.
    assert all(0.005 < float(after[names[short]].abs().max()) <= 0.0201 for short in heads)
    assert tensors(second).keys() == after.keys()
    log = [json.loads(line) for line in (second.parent / "logging.jsonl").read_text().splitlines()]
    assert log[0]["kl"] == pytest.approx(0, abs=1e-5)  # the stage before is the reference, with its routers

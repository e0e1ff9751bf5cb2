"""The dynamic encoder trains in families whose towers tell images apart in other ways: SFT, then GRPO."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

ROUTERS = {
    "qwen3_vl": {f"model.visual.blocks.{n}.mlp.linear_fc{k}" for n in (0, 1) for k in (1, 2)},
    # LLaVA reads the layer before the last: the last one has no router that anybody would train
    "llava": {f"model.vision_tower.encoder.layers.0.mlp.fc{k}" for k in (1, 2)},
}
ONE_STEP = ("swift.max_steps=1", "swift.learning_rate=1e-3", "stages.first.init=taught", "stages.second=null")


def routers(model: Any) -> dict[str, Any]:
    """The router parameters that count, under the names that they have without PEFT."""
    return {
        name.removeprefix("base_model.model.").replace(".modules_to_save.default", ""): value
        for name, value in model.named_parameters()
        if ".dve_router." in name and ".original_module." not in name
    }


@pytest.mark.parametrize("family", ROUTERS)
def test_sft_then_grpo(lab: Any, log_probabilities: Callable[..., Any], family: str) -> None:
    import torch

    for tuning in ("{tuner: full, encoder: trained}", "{tuner: lora, encoder: frozen}"):
        plan = lab.plan(f"model.base=tiny:{family}", f"tuning={tuning}", *ONE_STEP, start="fresh")
        for name in ("taught", "first"):
            trained = lab.run(plan, name)
            (step,) = trained.steps()
            assert math.isfinite(step["loss"])
            assert step["grad_norm"] > 0
            start, end = trained.load(0), trained.load(1)
            assert end.config.model_type == f"skinflow_{family}"
            before, after = routers(start), routers(end)
            assert before.keys() == after.keys()
            assert {key.partition(".dve_router.")[0] for key in after} == ROUTERS[family]
            assert {value.dtype for value in after.values()} == {torch.float32}
            moved = {key for key in after if not before[key].equal(after[key])}
            # Below heads that are all zero, as before the first stage, there is no gradient yet
            heads = {key for key in after if not key.endswith((".reduce_weight", ".norm_weight"))}
            assert heads <= moved
            assert name == "taught" or moved == after.keys()
            if name == "first":
                forward = trained.forwards[0]
                assert abs(step["kl"]) < 1e-6
                expected = log_probabilities(trained.model, forward)
                assert (log_probabilities(end, forward) - expected).abs().max() < 1e-5
                assert (log_probabilities(start, forward) - expected).abs().max() > 1e-4

"""Liger's GRPO loss trains what swift's own trains, on a CPU too: losses, gradients and KL, step by step."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("liger_kernel", reason="liger-kernel is not installed (pip install liger-kernel)")

STEPS = ("swift.max_steps=2", "swift.num_iterations=2", "swift.gradient_accumulation_steps=2")
# So large a rate that some tokens' KL divergence passes swift's cap of 10, which Liger does not have.
MORE = ("swift.learning_rate=1e-3", "swift.beta=0.1", "stages.taught=null", "stages.second=null")
FULL, LORA = "tuning={tuner: full, encoder: trained}", "tuning={tuner: lora, encoder: frozen}"


def both(lab: Any, *overrides: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What swift logged of each step: under its own loss, then under Liger's."""
    plan = [*STEPS, *MORE, *overrides]
    own = lab.run(lab.plan(*plan, start="fresh"), "first")
    liger = lab.run(lab.plan(*plan, "stages.first.swift.use_liger_kernel=true", start="fresh"), "first")
    assert not [module for module in liger.model.modules() if "iger" in type(module).__name__]
    return own.steps(), liger.steps()


def same(own: list[dict[str, Any]], liger: list[dict[str, Any]]) -> None:
    assert len(own) > 1
    for ours, theirs in zip(own, liger, strict=True):
        assert "clip_ratio" in theirs
        assert "clip_ratio" not in ours  # each loss logs what it clipped in its own way
        for name in ("loss", "grad_norm", "kl", "reward"):
            if name in ours:
                assert theirs[name] == pytest.approx(ours[name], rel=1e-4, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "encoder", "tuning"),
    [
        ("qwen2_5_vl", "dve", FULL),
        ("qwen2_5_vl", "base", LORA),
        ("qwen3_vl", "dve", LORA),
        ("llava", "base", FULL),  # Liger would replace the layers of the Llama within
        ("gemma3", "dve", FULL),
        ("idefics3", "base", FULL),
        ("internvl", "base", LORA),
    ],
)
def test_the_same_training(lab: Any, family: str, encoder: str, tuning: str) -> None:
    own, liger = both(lab, f"model.base=tiny:{family}", f"model.vision.encoder={encoder}", tuning)
    same(own, liger)
    assert max(step["kl"] for step in own) > 0.05 or tuning == LORA


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        "loss_type=[bnpo]",
        "loss_type=[dr_grpo]",
        "loss_type=[sapo]",
        "importance_sampling_level=sequence",
        "{gradient_checkpointing: true, temperature: 0.7}",
    ],
)
def test_the_same_training_under_other_losses(lab: Any, given: str) -> None:
    same(*both(lab, f"swift={given}" if given.startswith("{") else f"swift.{given}"))


@pytest.mark.slow
@pytest.mark.parametrize("given", ["loss_type=[dapo]", "overlong_filter=true", "kl_in_reward=true"])
def test_what_a_plan_does_not_leave_to_liger_is_another_training(lab: Any, given: str) -> None:
    with pytest.raises(AssertionError, match=r"loss|grad_norm"):
        same(*both(lab, f"swift.{given}", "swift.max_steps=4"))

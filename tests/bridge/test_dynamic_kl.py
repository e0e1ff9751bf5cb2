"""The logged KL is that to the model which the stage started from, for every tuning and every start.

By hand means: both checkpoints opened anew with transformers and PEFT, the log-probabilities of the sampled
completions under each, the estimator exp(d) - d - 1, and the mean over the completions' tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ROUNDING = 2e-6
"""What the order of a few sums in float32 may do to a KL of order one."""


def by_hand(trained: Any, log_probabilities: Callable[..., Any]) -> list[float]:
    """The KL of each step between the model before the step and the model before the stage."""
    reference, found = trained.load(0), []
    for step, forward in enumerate(trained.forwards):
        policy, mask = trained.load(step), forward[1]
        distance = log_probabilities(reference, forward) - log_probabilities(policy, forward)
        found.append(float(((distance.exp() - distance - 1) * mask).sum() / mask.sum()))
    return found


def check(trained: Any, log_probabilities: Callable[..., Any]) -> None:
    logged = [step["kl"] for step in trained.steps()]
    assert len(logged) == len(trained.forwards) == 4
    assert abs(logged[0]) < 1e-6
    assert all(value > 1e-5 for value in logged[1:])
    assert logged == pytest.approx(by_hand(trained, log_probabilities), rel=1e-5, abs=ROUNDING)


TUNINGS = [
    "{tuner: full, encoder: trained}",
    "{tuner: full, encoder: frozen}",
    "{tuner: lora, encoder: trained}",
    "{tuner: lora, encoder: frozen}",
    "{tuner: routers, encoder: trained}",
    "{tuner: routers, encoder: frozen}",
]


@pytest.mark.parametrize("tuning", TUNINGS)
def test_from_routers_that_are_trained_already(
    lab: Any, log_probabilities: Callable[..., Any], tuning: str
) -> None:
    """The reference has the routers that the stage started from, not none."""
    check(lab.train(f"tuning={tuning}", start="random"), log_probabilities)


@pytest.mark.parametrize("tuning", [TUNINGS[0], TUNINGS[3], TUNINGS[5]])
def test_from_a_fresh_graft(lab: Any, log_probabilities: Callable[..., Any], tuning: str) -> None:
    """The reference is the base model itself."""
    from skinflow_plugins.models import load

    trained = lab.train(f"tuning={tuning}", start="zero")
    check(trained, log_probabilities)
    forward = trained.forwards[0]
    plain = log_probabilities(load(lab.model("plain")), forward)
    assert (plain - log_probabilities(trained.load(0), forward)).abs().max() < 1e-6


@pytest.mark.parametrize("tuning", [TUNINGS[0], TUNINGS[2], TUNINGS[5]])
def test_of_a_second_stage(lab: Any, log_probabilities: Callable[..., Any], tuning: str) -> None:
    """The reference is what the first stage left: its checkpoint, or its adapter with its routers."""
    # Full steps of 1e-2 may leave a model of empty answers, at which swift's GRPO fails (no labels in a row).
    overrides = (f"tuning={tuning}", *(["swift.learning_rate=3.0e-3"] if "full" in tuning else []))
    first = lab.train(*overrides, start="random")
    second = lab.train(*overrides, start="random", stage="second")
    check(second, log_probabilities)

    forward = second.forwards[0]
    began, left, base = (
        log_probabilities(each, forward) for each in (second.load(0), first.load(4), first.load(0))
    )
    assert began.equal(left)
    assert (began - base).abs().max() > 1e-2
    if "adapters" in second.stage.arguments:
        check_reference_adapter(first, second)


def check_reference_adapter(first: Any, second: Any) -> None:
    """The second copy of the adapter is never trained, and not saved where the first belongs."""
    from safetensors.torch import load_file

    left = load_file(first.checkpoint(4) / "adapter_model.safetensors")
    saved = load_file(second.checkpoint(4) / "adapter_model.safetensors")
    assert saved.keys() == left.keys()
    assert all(not value.equal(left[name]) for name, value in saved.items() if ".lora_A" not in name)
    kept = {
        name.replace(".modules_to_save.ref_adapter", "").replace(".ref_adapter", ""): value
        for name, value in second.model.named_parameters()
        if ".ref_adapter" in name
    }
    assert kept.keys() == left.keys()
    assert all(value.equal(left[name]) for name, value in kept.items())

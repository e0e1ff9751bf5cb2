"""A stage that stopped after step 2 of 4 and goes on ends like one that nobody disturbed, bit by bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

CLOCK = ("elapsed_time", "remaining_time", "step_time", "train_speed(s/it)")


def stopped(lab: Any, whole: Any, *overrides: str, start: str, stage: str) -> Any:
    """The plan of a run that was killed in its third step: two checkpoints, and the logs of that time."""
    plan = lab.plan(*overrides, start=start)
    planned = next(each for each in plan.stages if each.stage.name == stage)
    folder = Path(plan.folder(planned))
    folder.mkdir(parents=True)
    for step in (1, 2):
        shutil.copytree(whole.checkpoint(step), folder / f"checkpoint-{step}")
    for log in ("logging.jsonl", "rewards.rank0.jsonl"):
        rows = (whole.folder / log).read_text().splitlines(keepends=True)
        kept = [row for row in rows if step_of(json.loads(row)) <= 3]  # and half a step that was not saved
        (folder / log).write_text("".join(kept))
    assert kept
    return plan


def step_of(row: Any) -> int:
    """The step that a line of either log is about; a line about the end is about none that counts."""
    return int(str(row.get("step") or row.get("global_step/max_steps", "99")).partition("/")[0])


def logged(trained: Any) -> list[dict[str, Any]]:
    """Everything that swift logged of each step, but for its clocks."""
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in trained.steps()]


def check(resumed: Any, whole: Any) -> None:
    from safetensors.torch import load_file

    assert logged(resumed) == logged(whole)
    assert [step_of(row) for row in logged(resumed)] == [1, 2, 3, 4]
    assert all(row["loss"] and row["reward_std"] > 0 and row["kl"] >= 0 for row in logged(whole))
    assert len(resumed.forwards) == 2  # it did go on, and did not start anew
    ours, theirs = (each.folder / "rewards.jsonl" for each in (resumed, whole))
    assert ours.read_bytes() == theirs.read_bytes()
    for file in theirs.parent.glob("checkpoint-4/*.safetensors"):
        weights, expected = load_file(resumed.checkpoint(4) / file.name), load_file(file)
        assert weights.keys() == expected.keys()
        assert all(weights[name].equal(value) for name, value in expected.items()), file.name
    assert (resumed.folder / "final").resolve() == resumed.checkpoint(4).resolve()


@pytest.mark.parametrize(
    ("tuning", "start"),
    [
        ("{tuner: full, encoder: trained}", "random"),
        ("{tuner: lora, encoder: trained}", "random"),
        ("{tuner: routers, encoder: frozen}", "random"),
        ("{tuner: full, encoder: frozen}", "random"),
        ("{tuner: routers, encoder: trained}", "random"),
        ("{tuner: full, encoder: trained}", "plain"),  # whose resume is broken in transformers
    ],
    ids=["full", "lora", "routers", "encoder frozen", "encoder alone", "base model"],
)
def test_it_goes_on(lab: Any, tuning: str, start: str) -> None:
    overrides = (f"tuning={tuning}",)
    whole = lab.train(*overrides, start=start)
    plan = stopped(lab, whole, *overrides, start=start, stage="first")
    check(
        lab.run(plan, "first", "--resume_from_checkpoint", str(plan.root / "stages/2-first/checkpoint-2")),
        whole,
    )


def test_routers_with_an_optimizer_of_their_own_go_on(lab: Any) -> None:
    """Their groups are made anew before the saved state is put back into them."""
    overrides = ("tuning={tuner: lora, router_learning_rate: 0.05, router_weight_decay: 0.1}",)
    whole = lab.train(*overrides, start="random")
    plan = stopped(lab, whole, *overrides, start="random", stage="first")
    check(
        lab.run(plan, "first", "--resume_from_checkpoint", str(plan.root / "stages/2-first/checkpoint-2")),
        whole,
    )


def test_a_second_stage_with_an_adapter_for_reference_goes_on(lab: Any) -> None:
    overrides = ("tuning={tuner: lora, encoder: trained}",)
    first = lab.train(*overrides, start="random")
    whole = lab.train(*overrides, start="random", stage="second")
    plan = stopped(lab, whole, *overrides, start="random", stage="second")
    (plan.root / "stages" / "2-first").symlink_to(first.folder)
    check(
        lab.run(plan, "second", "--resume_from_checkpoint", str(plan.root / "stages/3-second/checkpoint-2")),
        whole,
    )

"""Gates, schedules and alarms in a real training, inside this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.run import run
from skinflow_plugins.errors import WorkFailed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("swift")]

RANKED, FORM, NEAR = ("diagnosis.ranked_diagnosis", "diagnosis.format", "diagnosis.hierarchy_credit")
STAGE = "stages.diagnosis"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def settings(finished: Any) -> list[str]:
    """The last stage alone, from the warm start of the run that all tests share."""
    base = (finished.root / "stages" / "1-warmup" / "final").resolve()
    rewards = [
        {"ranked_diagnosis": {"list_length": 3, "gate": {"reward": "format", "at_least": 1}}},
        {"format": {"form": "ranked_list", "list_length": 3, "schedule": {"to": 0.0, "steps": 4}}},
        {
            "hierarchy_credit": {
                "weight": 0.5,
                "list_length": 3,
                "gate": {"reward": "ranked_diagnosis", "at_least": 0.3},
            }
        },
    ]
    return [
        f"model.base={base}",
        "model.options=null",
        "stages.warmup=null",
        "stages.caption=null",
        f"{STAGE}.replay=null",
        f"{STAGE}.rewards={json.dumps(rewards)}",
        "swift.torch_dtype=float32",
        "swift.fp16=false",
        "swift.bf16=false",
        "swift.dataloader_num_workers=0",
        "swift.gradient_checkpointing=false",
        "eval.permuted=false",
    ]


def test_gates_and_schedules_are_trained_on_and_logged(
    read: Callable[..., Any], settings: list[str], tmp_path: Path
) -> None:
    run(*read(*settings), tmp_path / "run", print)
    stage = tmp_path / "run" / "stages" / "1-diagnosis"
    weights = {1: 1.0, 2: 0.75, 3: 0.5, 4: 0.25, 5: 0.0, 6: 0.0, 7: 0.0, 8: 0.0}
    rows = lines(stage / "rewards.jsonl")
    assert len(rows) == 64
    closed = [row for row in rows if row["rewards"][FORM] < 1]
    assert closed
    for row in rows:
        values = row["rewards"]
        total = values[RANKED] + weights[row["step"]] * values[FORM] + 0.5 * values[NEAR]
        assert row["total"] == pytest.approx(total, abs=1e-5)
        assert (RANKED in row.get("gated", {})) == (values[FORM] < 1)
        assert (NEAR in row.get("gated", {})) == (values[RANKED] < 0.3)
        assert set(row["why"]) == {RANKED, FORM, NEAR}
        assert row["tokens"] > 0
        if values[FORM] < 1:
            assert values[RANKED] == 0.0
            assert values[NEAR] == -1.0  # its lowest: one gate leads to the next
    steps = lines(stage / "reward_steps.jsonl")
    assert {row["step"]: row["components"][FORM]["weight"] for row in steps} == pytest.approx(weights)
    for row in steps:
        own = [each for each in rows if each["step"] == row["step"]]
        mean = sum(each["rewards"][RANKED] for each in own) / len(own)
        assert row["components"][RANKED]["mean"] == pytest.approx(mean, abs=1e-5)
        gated = sum(RANKED in each.get("gated", {}) for each in own) / len(own)
        assert row["components"][RANKED]["gated"] == pytest.approx(gated, abs=1e-5)
        assert row["groups"] == 2
    logged = {int(row["global_step/max_steps"].partition("/")[0]): row for row in _steps(stage)}
    for row in steps:
        swift = logged[row["step"]]
        for key in (RANKED, FORM, NEAR):
            for name in ("min", "max", "weight", "gated"):
                if (name == "weight" and key != FORM) or (name == "gated" and key == FORM):
                    assert f"rewards/{key}/{name}" not in swift  # it could only be flat
                    continue
                assert swift[f"rewards/{key}/{name}"] == pytest.approx(row["components"][key][name], abs=1e-5)
            assert swift[f"rewards/{key}/mean"] == pytest.approx(row["components"][key]["mean"], abs=1e-4)
        assert swift["reward"] == pytest.approx(row["total"]["mean"], abs=1e-4)  # what swift trains on
        assert f"rewards/{RANKED}/listed" in swift


def _steps(stage: Path) -> list[dict[str, Any]]:
    return [row for row in lines(stage / "logging.jsonl") if "reward" in row]


def test_an_alarm_can_stop_the_run_and_is_kept(
    read: Callable[..., Any], settings: list[str], tmp_path: Path
) -> None:
    alarms = {"window": 2, "patience": 1, "least_completions": 8, "least_groups": 1, "gated_share": 0.05}
    with pytest.raises(WorkFailed, match=r"alarms\.stop_on: The gate of .* was closed for .*alarms\.jsonl"):
        run(
            *read(*settings, f"alarms={json.dumps({**alarms, 'stop_on': ['gated']})}"),
            tmp_path / "run",
            print,
        )
    stage = tmp_path / "run" / "stages" / "1-diagnosis"
    (first, *_) = lines(stage / "alarms.jsonl")
    assert first["kind"] == "gated"
    assert first["example"]["completion"]
    assert len(lines(stage / "reward_steps.jsonl")) < 8


def test_rewards_that_say_nothing_are_told(
    read: Callable[..., Any], settings: list[str], tmp_path: Path
) -> None:
    """One reward, which no completion can earn: every group is silent, and the log says why."""
    from swift.utils import get_logger

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    dead = [{"format": {"form": "caption", "fields": {"colour": ["no such colour"]}}}]
    steps = f"{STAGE}.swift.max_steps=2"
    get_logger().addHandler(handler)
    try:
        run(
            *read(*settings, f"{STAGE}.rewards={json.dumps(dead)}", steps, f"{STAGE}.swift.save_steps=1"),
            tmp_path / "run",
            print,
        )
    finally:
        get_logger().removeHandler(handler)
    stage = tmp_path / "run" / "stages" / "1-diagnosis"
    for row in lines(stage / "reward_steps.jsonl"):
        assert row["silent_groups"] == row["groups"] == 2
        assert "diagnosis.format" in row["zero_gradient"]
    (warned,) = [text for text in said if "skinflow: step 1:" in text]
    assert "diagnosis.format" in warned
    assert not any("skinflow: step 2:" in text for text in said)  # what lasts is said once

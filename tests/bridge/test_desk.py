"""The desk with swift's own scoring and a trainer that has nothing else: groups, other rewards, resuming."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from skinflow_plugins import Score, reward
from skinflow_plugins.bridge import reward_log
from skinflow_plugins.bridge.adapters import reward_class
from skinflow_plugins.bridge.rewarding import scorer
from skinflow_plugins.bridge.rewarding.desk import Desk
from skinflow_plugins.bridge.settings import StageSettings
from skinflow_plugins.rewards.composition import Component

pytestmark = pytest.mark.usefixtures("swift")


@reward("size", high=99.0)
def size(answer: str, **sample: Any) -> Score | None:
    """The number of letters; nothing about `?`."""
    return None if answer == "?" else Score(len(answer), answer, f"{len(answer)} letters")


COMPONENT = Component("s.size", size, stage="s")


def theirs(completions: Sequence[str], **kwargs: Any) -> list[float | None]:
    """A reward that is not ours; None is zero to swift."""
    return [None if answer == "?" else 1.0 for answer in completions]


def trainer_in(folder: Path, *more: Any) -> Any:
    """As much of a trainer as rewards need; two completions for each prompt."""
    settings = StageSettings("s", str(folder), ())
    args = SimpleNamespace(output_dir=str(folder))
    ours = reward_class(COMPONENT, settings, [COMPONENT])(args=args)
    found = SimpleNamespace(
        args=args,
        reward_funcs=[ours, *more],
        reward_weights=torch.ones(1 + len(more)),
        accelerator=SimpleNamespace(is_main_process=True),
        state=SimpleNamespace(global_step=0),
        model=SimpleNamespace(training=True),
        dynamic_num_samples=False,
        num_generations=2,
        num_generations_eval=2,
        _metrics={"train": defaultdict(list)},
    )
    found.desk = Desk(found, settings)
    return found


def judge(trainer: Any, done: int, *answers: str) -> torch.Tensor:
    """One batch in the step after `done` steps, by the way that swift takes."""
    from swift.rl_core.data import GRPOSample
    from swift.rl_core.grpo_algorithm import score_completions

    trainer.state.global_step = done
    samples = [
        GRPOSample(
            messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": answer}],
            extra={"id": f"{done}-{row // 2}", "task": "t", "stage": "s"},
        )
        for row, answer in enumerate(answers)
    ]
    step = trainer.desk.set_weights(trainer)
    functions = trainer.reward_funcs
    found = score_completions(samples, functions, [None] * len(functions), False, torch.device("cpu"))
    result: torch.Tensor = trainer.desk.finish(trainer, samples, found, step)
    return result


@pytest.fixture(autouse=True)
def anew() -> None:
    scorer.forget()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_groups_of_several_batches_of_a_step_stay_apart(tmp_path: Path) -> None:
    """As with `dynamic_sample`, or `steps_per_generation` below the accumulation."""
    trainer = trainer_in(tmp_path)
    judge(trainer, 0, "a", "bb", "ccc", "c")
    judge(trainer, 0, "dd", "d", "ee", "e")
    judge(trainer, 1, "f", "ff")
    lines = rows(reward_log.part(tmp_path))
    places = [(line["step"], line.get("batch", 0), line["group"]) for line in lines[::2]]
    assert places == [(1, 0, 0), (1, 0, 1), (1, 1, 2), (1, 1, 3), (2, 0, 0)]
    steps = rows(tmp_path / reward_log.STEPS)
    assert [(row["step"], row.get("batch", 0), row["groups"]) for row in steps] == [
        (1, 0, 2),
        (1, 1, 2),
        (2, 0, 1),
    ]
    joined = rows(reward_log.join(tmp_path))
    assert sorted(row["group"] for row in joined if row["step"] == 1) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_resumed_desk_knows_what_an_uninterrupted_one_knows(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path)
    for step in range(3):
        judge(trainer, step, "a", "bb" * (step + 1), "c", "cc")
        judge(trainer, step, "d", "d" * (step + 2))
    again = trainer_in(tmp_path)
    assert len(trainer.desk.monitor._history.means) == 6
    assert again.desk.monitor._history.means == trainer.desk.monitor._history.means
    assert again.desk.monitor._history.recent == trainer.desk.monitor._history.recent


def test_nobody_elses_rewards_are_touched(tmp_path: Path) -> None:
    found = judge(trainer_in(tmp_path, theirs), 0, "aa", "?")
    assert found[:, 0].tolist() == [2.0, 2.0]
    assert found[0, 1] == 1.0
    assert found[1, 1].isnan()


def test_little_gradient_is_said_once_though_its_counts_change(tmp_path: Path) -> None:
    from swift.utils import get_logger

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    trainer = trainer_in(tmp_path)
    get_logger().addHandler(handler)
    try:
        judge(trainer, 0, *("a" * 2 * 9), "b", "bb")
        judge(trainer, 1, *("a" * 2 * 10), "b", "bb")
        judge(trainer, 2, *("a" * 2 * 9))
    finally:
        get_logger().removeHandler(handler)
    kinds = [text.partition(" from ")[0] for text in said if text.startswith("skinflow: step")]
    assert kinds == ["skinflow: step 1: Little gradient", "skinflow: step 3: No gradient"]
    lines = rows(tmp_path / reward_log.STEPS)
    assert lines[0]["zero_gradient"] != lines[1]["zero_gradient"]  # the file has it all

"""Between swift's rewards and its advantages: group means, lines, and the point at which a run ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins import NoVerdict, Score, reward
from skinflow_plugins.bridge.rewarding.batch_lines import global_lines, local_lines
from skinflow_plugins.bridge.rewarding.failures import FailureWatch
from skinflow_plugins.bridge.rewarding.groups import filled
from skinflow_plugins.bridge.rewarding.scorer import Scorer
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.rewards.composition import Component, RewardGate, score_batch

NAN = math.nan


def test_a_missing_row_gets_the_mean_of_its_group() -> None:
    rewards = torch.tensor([[1.0, NAN], [NAN, NAN], [0.0, 0.5], [NAN, 0.25]])
    result = filled(rewards, ["a", "a", "b", "b"])
    assert result[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert result[:2, 1].isnan().all()  # the whole group lacks it
    assert result[2:, 1].tolist() == [0.5, 0.25]
    assert rewards.isnan().sum() == 4  # the given tensor is left alone


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7, 0.9])
def test_the_mean_of_equal_values_is_that_value(value: float) -> None:
    """A rounding error would look like a spread: in single precision 1e-8 of it, which gdpo blows up."""
    for size in (4, 6, 8, 12):
        rewards = torch.full((size, 1), value)
        rewards[-1] = NAN
        assert filled(rewards, ["a"] * size)[:, 0].unique().tolist() == rewards[:1, 0].tolist()


def test_groups_need_not_lie_together() -> None:
    rewards = torch.tensor([[1.0], [5.0], [NAN], [NAN], [3.0]])
    assert filled(rewards, ["a", "b", "a", "b", "a"])[:, 0].tolist() == [1.0, 5.0, 2.0, 5.0, 3.0]


@given(
    st.lists(st.lists(st.one_of(st.none(), st.floats(-2, 2)), min_size=4, max_size=4), min_size=1, max_size=5)
)
def test_a_missing_row_moves_nobodys_advantage(groups: list[list[float | None]]) -> None:
    """The others' distance from the group's mean is what it would be if the row had not been sampled."""
    rows = [NAN if value is None else value for group in groups for value in group]
    names = [number for number, group in enumerate(groups) for _ in group]
    result = filled(torch.tensor(rows, dtype=torch.float64).unsqueeze(1), names)[:, 0].view(-1, 4)
    for group, found in zip(groups, result, strict=True):
        there = [value for value in group if value is not None]
        if not there:
            assert found.isnan().all()
            continue
        mean = sum(there) / len(there)
        assert float(found.mean()) == pytest.approx(mean, abs=1e-9)
        for value, after in zip(group, found.tolist(), strict=True):
            assert after == pytest.approx(mean if value is None else value, abs=1e-9)


@reward("letters", high=99.0)
def letters(answer: str, **sample: Any) -> Score:
    """The number of letters."""
    return Score(len(answer), answer, f"{len(answer)} letters", {"even": float(len(answer) % 2 == 0)})


@reward("sometimes", high=9.0)
async def sometimes(answer: str, **sample: Any) -> float | None:
    """One; nothing about `?`, and no verdict on `!`."""
    if answer == "!":
        raise NoVerdict("the judge is away")
    return None if answer == "?" else 1.0


def test_the_lines_of_a_batch() -> None:
    components = [
        Component("s.letters", letters, gate=RewardGate("s.sometimes", 0.5)),
        Component("s.sometimes", sometimes, weight=0.5),
    ]
    answers = ["aa", "?", "!"]
    kwargs = {"id": ["1", "1", "2"], "task": ["t"] * 3, "response_token_ids": [[1, 2], [[1], [2, 3]], None]}
    scores = score_batch(components, answers, {"id": kwargs["id"]})
    lines = local_lines(scores, answers, kwargs)
    assert lines[0] == {
        "id": "1",
        "task": "t",
        "completion": "aa",
        "tokens": 2,
        "why": {"s.letters": "2 letters"},
        "marks": {"s.letters": {"even": 1.0}},
    }
    assert lines[1]["tokens"] == 3
    assert set(lines[1]["missing"]) == {"s.letters", "s.sometimes"}
    assert "failed" not in lines[1]
    assert lines[2]["failed"] == ["s.letters", "s.sometimes"]
    assert lines[2]["missing"]["s.sometimes"] == "the judge is away"
    assert "tokens" not in lines[2]
    unknown = local_lines(scores, answers, {"response_token_ids": [[], [], []]})
    assert not any("tokens" in line for line in unknown)  # swift keeps no ids: that is no length of 0

    keys = ["s.letters", "s.sometimes"]
    whole = global_lines(
        lines,
        [[2.0, 1.0], [None, 1.0], [None, None]],
        keys,
        {"s.letters": 1.0, "s.sometimes": 0.5},
        7,
        [0, 0, 1],
    )
    assert [line["total"] for line in whole] == [2.5, 0.5, 0.0]
    assert [line["group"] for line in whole] == [0, 0, 1]
    assert whole[1]["rewards"] == {"s.sometimes": 1.0}
    assert list(whole[0])[:4] == ["step", "id", "task", "group"]


def test_a_closed_gate_keeps_the_value_that_it_hides() -> None:
    components = [Component("a", letters, gate=RewardGate("b", 3.0)), Component("b", letters)]
    (line,) = local_lines(score_batch(components, ["xx"], {}), ["xx"], {})
    assert line["gated"] == {"a": 2.0}


def test_one_scoring_serves_all_rewards_of_a_batch() -> None:
    calls = []

    @reward("counted", batched=True)
    def counted(answers: list[str], **columns: Any) -> list[float]:
        """One."""
        calls.append(answers)
        return [1.0] * len(answers)

    scorer = Scorer([Component("a", counted), Component("b", counted)])
    first, second = ["x"], ["x"]
    assert scorer.start("a", first, {}) is scorer.start("b", first, {})
    scorer.start("a", first, {}).result()  # asked again: swift has come to the next batch
    scorer.start("a", second, {}).result()
    assert len(calls) == 6  # three batches, two components each


def lines(failed: int, asked: int, key: str = "s.judged") -> list[dict[str, Any]]:
    good = [{"rewards": {key: 1.0}}] * (asked - failed)
    bad = [{"rewards": {}, "missing": {key: "away"}, "failed": [key]}] * failed
    return [*good, *bad]


def test_too_many_failed_rows_end_the_run() -> None:
    watch = FailureWatch({"s.judged": 0.2})
    watch.add(lines(20, 100))
    with pytest.raises(
        WorkFailed, match=r"s\.judged could not judge 41 of the last 200 .* 20% may fail.*away"
    ):
        watch.add(lines(21, 100))


def test_failures_are_forgotten_after_some_batches() -> None:
    watch = FailureWatch({"s.judged": 0.2})
    watch.add(lines(20, 100))
    for _ in range(10):
        watch.add(lines(0, 100))
    watch.add(lines(200, 1000))  # with those of the first batch it would be more than a fifth


def test_one_failed_call_in_a_small_batch_ends_nothing() -> None:
    watch = FailureWatch({"s.judged": 0.2})
    watch.add(lines(4, 4))
    watch.add(lines(4, 4))
    with pytest.raises(WorkFailed, match="12 of the last 12"):
        watch.add(lines(4, 4))


def test_a_row_without_a_verdict_counts_once_though_its_group_filled_it() -> None:
    watch = FailureWatch({"s.judged": 0.5})
    row = {"rewards": {"s.judged": 0.5}, "missing": {"s.judged": "away"}, "failed": ["s.judged"]}
    watch.add([row] * 50 + lines(0, 50))  # half of a hundred, not half of a hundred and fifty
    with pytest.raises(WorkFailed, match="100 of the last 150"):
        watch.add([row] * 50)


def test_the_trainer_is_wrapped_once(swift: None) -> None:
    from swift.rlhf_trainers.grpo_trainer import GRPOTrainer

    from skinflow_plugins.bridge.rewarding.install import watch_rewards

    watch_rewards()
    wrapped = GRPOTrainer._compute_rewards_per_func
    watch_rewards()
    assert GRPOTrainer._compute_rewards_per_func is wrapped

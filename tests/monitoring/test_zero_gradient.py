"""Why a step teaches nothing, in words that name the reward and the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from skinflow_plugins.monitoring import step_report

WEIGHTS = {"s.a": 1.0, "s.b": 0.5}


def lines(
    values: Mapping[str, Sequence[Sequence[float | None]]], weights: Mapping[str, float] = WEIGHTS
) -> list[dict[str, Any]]:
    """Lines out of values by reward, group and completion; None is a missing one."""
    found = []
    for group, size in enumerate(map(len, next(iter(values.values())))):
        for row in range(size):
            rewards = {key: v for key, groups in values.items() if (v := groups[group][row]) is not None}
            line: dict[str, Any] = {"step": 1, "id": f"r{group}", "group": group, "completion": str(row)}
            line["rewards"] = rewards
            missing = {key: "not known" for key in values if key not in rewards}
            line |= {"missing": missing} if missing else {}
            line["total"] = round(sum(weights[key] * value for key, value in rewards.items()), 6)
            found.append(line)
    return found


def sentence(given: list[dict[str, Any]], weights: Mapping[str, float] = WEIGHTS, **more: Any) -> str:
    found = step_report(given, weights, **more)["zero_gradient"]
    assert isinstance(found, str)
    return found


def test_a_step_with_spread_has_no_sentence() -> None:
    found = step_report(lines({"s.a": [[0, 1], [1, 0]], "s.b": [[1, 1], [1, 1]]}), WEIGHTS)
    assert (found["silent_groups"], found["zero_gradient"]) == (0, None)


def test_constant_everywhere_at_an_end() -> None:
    found = sentence(lines({"s.a": [[0, 0], [0, 0]], "s.b": [[1, 1], [1, 1]]}))
    assert found.startswith("No gradient from the rewards: all 2 groups are without spread in the total.")
    assert "s.a is 0 everywhere, its lowest value." in found
    assert "s.b is 1 everywhere, its highest value." in found
    assert "A higher temperature or more completions per prompt" in found


def test_all_learnt() -> None:
    found = sentence(lines({"s.a": [[1, 1]], "s.b": [[1, 1]]}))
    assert "the only group is without spread" in found
    assert found.endswith("The prompts are learnt: harder ones, or a stricter reward, would go on.")


def test_the_ends_are_those_that_the_reward_declares() -> None:
    given = lines({"s.a": [[0, 0]], "s.b": [[-1, -1]]})
    found = sentence(given, ranges={"s.a": (-1.0, 0.0), "s.b": (-1.0, 1.0)})
    assert "s.a is 0 everywhere, its highest value." in found
    assert "s.b is -1 everywhere, its lowest value." in found


def test_prompts_that_are_all_right_and_all_wrong() -> None:
    a = [[1, 1], [0, 0], [0, 0], [0.5, 0.5], [0, 0], [0, 0]]
    found = sentence(lines({"s.a": a, "s.b": [[1, 1]] * 6}))
    assert (
        "s.a is the same within each of them: all right for 1 (r0), all wrong for 4 (r1, r2, r4 and 1 more), "
        "all alike for 1 (r3)." in found
    )


def test_rewards_that_cancel_each_other() -> None:
    found = sentence(lines({"s.a": [[0.5, 0], [0, 0.5]], "s.b": [[0, 1], [1, 0]]}))
    assert "s.a and s.b differ in 2 groups, such as r0, but cancel each other in the total." in found


def test_a_reward_that_differs_with_weight_zero() -> None:
    weights = {"s.a": 0.0, "s.b": 1.0}
    found = sentence(lines({"s.a": [[0.2, 0.9]], "s.b": [[0.3, 0.3]]}, weights), weights)
    assert "s.a differs, but its weight is 0." in found
    assert "s.b is 0.3 everywhere." in found
    assert "cancel" not in found
    assert "without any effect" not in found


def test_everything_missing_failed_or_gated() -> None:
    given = lines({"s.a": [[None, None]], "s.b": [[0, 0]]})
    assert "s.a has no judgement on any of their completions (not known)." in sentence(given)
    failed = [{**line, "failed": ["s.a"], "gated": {"s.b": 0.8}} for line in given]
    found = sentence(failed)
    assert "s.a failed on all of their completions (not known)." in found
    assert "The gate of s.b is closed for all of their completions." in found


def test_a_single_completion_has_nobody_to_compete_with() -> None:
    found = sentence(lines({"s.a": [[0], [1]], "s.b": [[0], [1]]}))
    assert found.endswith("Each holds a single completion: sample more for each prompt.")


@pytest.mark.parametrize(("silent", "said"), [(7, False), (8, True), (9, True)])
def test_most_groups(silent: int, said: bool) -> None:
    a = [[1, 1]] * silent + [[0, 1]] * (10 - silent)
    report = step_report(lines({"s.a": a, "s.b": [[1, 1]] * 10}), WEIGHTS)
    assert report["silent_groups"] == silent
    assert (report["zero_gradient"] is not None) == said
    if said:
        words = (
            f"Little gradient from the rewards: {silent} of 10 groups ({10 * silent} %) are without spread"
        )
        assert report["zero_gradient"].startswith(words)
        # The groups that do compete are not spoken of.
        assert "s.a is 1 everywhere" in report["zero_gradient"]

"""The monitor: the same from the same lines, silent on what it has said, and small."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from skinflow_plugins.monitoring import AlarmSettings, Monitor, step_report
from skinflow_plugins.monitoring.alarm import LONGEST


def run(training: Any, weights: Any, *, shuffle: int | None = None) -> list[tuple[Any, list[Any]]]:
    monitor, found = Monitor(), []
    shuffler = random.Random(shuffle)
    for lines in training:
        if shuffle is not None:
            shuffler.shuffle(lines)
        report, alarms = monitor.add(lines, training.evaluations, weights)
        found.append((report, [alarm.as_dict() for alarm in alarms]))
    return found


@pytest.mark.parametrize("gaming", ["list_length", "template", "failed"])
def test_the_order_of_a_steps_lines_does_not_count(gaming: str, training: Any, weights: Any) -> None:
    one = run(training(5, gaming, steps=80), weights)
    assert any(alarms for _, alarms in one)
    assert run(training(5, gaming, steps=80), weights, shuffle=1) == one


def test_the_step_line_is_that_of_step_report(training: Any, weights: Any) -> None:
    lines = next(iter(training(5)))
    assert Monitor().add(lines, (), weights)[0] == step_report(lines, weights)


def test_a_resumed_stage_goes_on_as_if_it_had_not_stopped(training: Any, weights: Any) -> None:
    """It is fed the old lines, with all evaluations that there are: each counts after its step only."""
    whole = training(11, "held_out")
    steps = list(whole)
    expected = run(training(11, "held_out"), weights)
    monitor = Monitor()
    again = []
    for lines in steps:
        report, alarms = monitor.add(json.loads(json.dumps(lines)), whole.evaluations, weights)
        again.append((report, [alarm.as_dict() for alarm in alarms]))
    assert again == expected
    assert sum(len(alarms) for _, alarms in expected) >= 1


def lines_of(step: int, failed: bool) -> list[dict[str, Any]]:
    """32 completions to 8 prompts, of which 8 could not be judged, or none."""
    found = []
    for row in range(32):
        line: dict[str, Any] = {"step": step, "id": f"{step}-{row // 4}", "group": row // 4}
        line |= {
            "completion": f"answer {step} {'x' * row}",
            "rewards": {"s.a": row % 4 / 4},
            "total": row % 4 / 4,
        }
        if failed and row % 4 == 0:
            line |= {"missing": {"s.a": "the judge is down"}, "failed": ["s.a"]}
        found.append(line)
    return found


def steps_of(settings: AlarmSettings, pattern: list[tuple[int, bool]]) -> list[int]:
    """At which steps an alarm is raised, when so many steps each fail or do not."""
    monitor, step, raised = Monitor(settings), 0, []
    for many, failed in pattern:
        for _ in range(many):
            step += 1
            raised += [alarm.step for alarm in monitor.add(lines_of(step, failed))[1]]
    return raised


def test_an_alarm_waits_for_its_patience_and_is_not_repeated() -> None:
    settings = AlarmSettings(window=5, patience=3)
    assert steps_of(settings, [(60, True)]) == [7]
    assert steps_of(AlarmSettings(window=5, patience=1), [(60, True)]) == [5]


def test_it_is_raised_again_only_after_a_window_without_it() -> None:
    settings = AlarmSettings(window=5, patience=3, failed_share=0.2)
    # The share of the window is at 0.2 or above while at least 4 of its 5 steps fail.
    assert steps_of(settings, [(10, True), (2, False), (10, True)]) == [7]
    assert steps_of(settings, [(10, True), (9, False), (10, True)]) == [7, 25]


def test_a_passing_burst_is_no_alarm() -> None:
    settings = AlarmSettings(window=5, patience=3, failed_share=0.2)
    assert steps_of(settings, [(8, False), (4, True), (20, False)]) == []


def test_little_data_raises_nothing() -> None:
    assert steps_of(AlarmSettings(window=5, least_completions=161), [(30, True)]) == []
    assert steps_of(AlarmSettings(window=5, least_groups=41), [(30, True)]) == []
    assert steps_of(AlarmSettings(window=5, least_completions=160, least_groups=40), [(30, True)]) == [7]


def test_two_rewards_have_an_alarm_each() -> None:
    monitor, raised = Monitor(AlarmSettings(window=5)), []
    for step in range(1, 31):
        lines = lines_of(step, True)
        for line in lines:
            line["rewards"]["s.b"] = 1.0
            if step > 10 and line.get("failed"):
                line["failed"].append("s.b")
                line["missing"]["s.b"] = "the other judge is down"
        raised += [(alarm.step, alarm.message.split()[0]) for alarm in monitor.add(lines)[1]]
    assert raised[0] == (7, "s.a")
    assert [name for _, name in raised] == ["s.a", "s.b"]


def test_an_example_is_shortened_and_json() -> None:
    monitor = Monitor(AlarmSettings(window=2, patience=1, least_completions=2, least_groups=2))
    lines = lines_of(1, True)
    for line in lines:
        line["completion"] = "long " * 20_000 + "\x00"
        line["missing"] = {"s.a": "why " * 1_000}
        line["failed"] = ["s.a"]
    monitor.add(lines)
    (alarm,) = [each for each in monitor.add(lines)[1] if each.kind == "failed"]
    assert len(alarm.example["completion"]) == LONGEST
    assert alarm.example["completion"].endswith("…")
    assert len(alarm.example["missing"]["s.a"]) == LONGEST
    assert set(json.loads(json.dumps(alarm.as_dict()))) == {
        "step", "kind", "message", "value", "limit", "example",
    }  # fmt: skip


def test_of_completions_only_a_window_is_kept(training: Any, weights: Any) -> None:
    monitor = Monitor(AlarmSettings(window=5))
    sizes = []
    for lines in training(5, steps=30):
        monitor.add(lines, (), weights)
        pairs = monitor._history._agreements._pairs["answer"]
        sizes.append(sum(pairs[0].counts.values()))
        assert len(monitor._history.recent) <= 5
    assert sizes[4:] == [5 * 64] * 26

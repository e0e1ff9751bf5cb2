"""Alarms on simulated trainings: silent while a policy learns its task, each loud when it games a reward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from skinflow_plugins.monitoring import Alarm, AlarmSettings, Monitor

Watch = Callable[..., list[Alarm]]
HEALTHY: dict[str, dict[str, Any]] = {
    "many classes": {},
    "eight classes": {"classes": 8},
    "two even classes": {"classes": 2},
    "one class for nine in ten": {"shares": (0.9, 0.1)},
    "one class for nearly all": {"shares": (0.96, 0.04)},
    "with reasoning": {"reasons": True},
    "two prompts of four completions": {"prompts": 2, "generations": 4},
    "few held-out records": {"records": 50},
    "long": {"steps": 250, "prompts": 4},
}
SEEDS = range(3)
# 40 other seeds of each of these, and of one whose skill stands still, raised no alarm: 400 trainings.


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_healthy_training_raises_no_alarm(kind: str, watch: Watch) -> None:
    raised = [alarm for seed in SEEDS for alarm in watch(seed=seed, **HEALTHY[kind])]
    assert [(alarm.kind, alarm.step, alarm.message) for alarm in raised] == []


# gaming -> the kinds that must ring, by which step of 100, and what else may.
GAMES: dict[str, tuple[str, int, set[str]]] = {
    "held_out": ("held_out", 75, set()),
    "length": ("length", 75, set()),
    "list_length": ("list_length", 60, {"length"}),
    "template": ("template", 80, set()),
    "reasoning": ("template", 80, set()),
    "generic": ("generic", 55, set()),
    "judge_differs": ("judge_differs", 50, set()),
    "missing": ("missing", 65, set()),
    "failed": ("failed", 60, set()),
    "gated": ("gated", 30, set()),
    "one_sided": ("one_sided", 70, set()),
}


@pytest.mark.parametrize("gaming", GAMES)
def test_each_way_of_gaming_raises_its_own_alarm(gaming: str, watch: Watch) -> None:
    kind, by, others = GAMES[gaming]
    for seed in (11, 12):
        raised = watch(seed=seed, gaming=gaming, reasons=gaming == "reasoning")
        first = [alarm for alarm in raised if alarm.kind == kind]
        assert first, (seed, raised)
        assert first[0].step <= by
        assert {alarm.kind for alarm in raised} <= {kind, *others}
        assert first[0].example["completion"]
        assert any(letter.isdigit() for letter in first[0].message)


@pytest.mark.parametrize("gaming", [game for game in GAMES if game != "reasoning"])
def test_an_alarm_that_is_off_is_silent(gaming: str, watch: Watch) -> None:
    kind, _, others = GAMES[gaming]
    assert watch(AlarmSettings(off=(kind, *others)), seed=11, gaming=gaming) == []


def first(raised: list[Alarm], kind: str) -> Alarm:
    return next(alarm for alarm in raised if alarm.kind == kind)


def test_the_example_of_length_is_long_and_scores_well(watch: Watch) -> None:
    alarm = first(watch(seed=11, gaming="length"), "length")
    assert "the mean length has grown from" in alarm.message
    assert "most with diagnosis.ranked" in alarm.message
    assert alarm.value >= alarm.limit == 0.3
    assert alarm.example["tokens"] > 200


def test_the_example_of_a_list_is_long(watch: Watch) -> None:
    alarm = first(watch(seed=11, gaming="list_length"), "list_length")
    assert alarm.example["marks"]["diagnosis.ranked"]["listed"] >= 6


def test_a_list_as_long_as_it_is_asked_for_is_no_alarm(watch: Watch) -> None:
    kinds = {alarm.kind for alarm in watch(AlarmSettings(list_asked=20), seed=11, gaming="list_length")}
    assert "list_length" not in kinds
    alarm = first(watch(AlarmSettings(list_asked=6), seed=11, gaming="list_length"), "list_length")
    assert "the number of items beyond the 6 asked for" in alarm.message


def test_the_example_of_a_template_is_the_most_frequent_completion(watch: Watch) -> None:
    alarm = first(watch(seed=11, gaming="template"), "template")
    assert alarm.example["completion"] == "lichen simplex; lichen rosacea; lichen corporis"
    assert "“lichen simplex; lichen rosacea; lichen corporis”" in alarm.message
    assert "in the first steps" in alarm.message


@pytest.mark.parametrize("looks", [True, False])
def test_few_answers_are_no_template_where_they_depend_on_the_image(looks: bool) -> None:
    """Nine of ten prompts have the one answer: always to say it is another thing than to be right."""
    monitor, kinds = Monitor(), set()
    random = np.random.default_rng(0)
    for step in range(1, 41):
        lines = []
        for group in range(16):
            truth = random.random() < 0.1
            for row in range(8):
                other = truth if looks and random.random() < 0.97 else random.random() < 0.1
                text = "psoriasis" if other else "eczema"
                line = {"step": step, "id": f"{step}-{group}", "group": group, "completion": text}
                lines.append({**line, "total": float(other == truth), "tokens": row})
        kinds |= {alarm.kind for alarm in monitor.add(lines)[1]}
    assert kinds == (set() if looks else {"template"})


def test_the_examples_of_marks_carry_them(watch: Watch) -> None:
    for gaming, mark in (("generic", "generic"), ("judge_differs", "judge_matcher_differ")):
        alarm = first(watch(seed=11, gaming=gaming), GAMES[gaming][0])
        assert alarm.example["marks"]["diagnosis.ranked"][mark] == 1


def test_the_examples_of_silence_say_why(watch: Watch) -> None:
    alarm = first(watch(seed=11, gaming="missing"), "missing")
    assert alarm.example["missing"] == {"diagnosis.morphology": "no morphology is known"}
    assert alarm.message.endswith("Most often: no morphology is known.")
    alarm = first(watch(seed=11, gaming="failed"), "failed")
    assert alarm.example["failed"] == ["diagnosis.morphology"]
    assert alarm.message.endswith("Most often: the judge is down.")
    alarm = first(watch(seed=11, gaming="gated"), "gated")
    assert alarm.example["gated"]["diagnosis.morphology"] > 0


def test_the_alarm_on_held_out_figures_gives_both(watch: Watch) -> None:
    alarm = first(watch(seed=11, gaming="held_out"), "held_out")
    assert alarm.message.startswith("The reward rises while diagnosis_top1 falls on the held-out records")
    assert "the mean total went from" in alarm.message
    assert alarm.value < alarm.limit < 0


def monitored(training: Any, settings: AlarmSettings, weights: Any, change: Callable[[Any], Any]) -> set[str]:
    """The kinds that ring when each evaluation is changed before the monitor sees it."""
    monitor, kinds = Monitor(settings), set()
    for lines in training:
        evaluations = [change(row) for row in training.evaluations]
        step = weights(lines[0]["step"]) if callable(weights) else weights
        kinds |= {alarm.kind for alarm in monitor.add(lines, evaluations, step)[1]}
    return kinds


def figures(row: dict[str, Any], **values: float) -> dict[str, Any]:
    return {**row, "figures": values}


def test_a_figure_of_which_less_is_better_counts_when_it_rises(training: Any, weights: Any) -> None:
    def worse(row: dict[str, Any]) -> dict[str, Any]:
        return figures(row, missed=1 - row["figures"]["diagnosis_top1"])

    def how(*patterns: str) -> AlarmSettings:
        return AlarmSettings(held_out_figures=patterns)

    assert monitored(training(11, "held_out"), how("-missed"), weights, worse) == {"held_out"}
    assert monitored(training(11, "held_out"), how("missed"), weights, worse) == set()
    assert monitored(training(11, "held_out"), how("other"), weights, worse) == set()


def test_a_total_that_rises_by_its_weights_alone_has_not_risen(training: Any, weights: Any) -> None:
    """The figure falls, and the total rises as its weights do; what the rewards give stays as it was."""

    def falling(row: dict[str, Any]) -> dict[str, Any]:
        return figures(row, diagnosis_top1=0.6 - 0.004 * row["step"])

    class Still(training):  # type: ignore[misc]
        def __iter__(self) -> Any:
            for lines in super().__iter__():
                for line in lines:
                    line.pop("gated", None)
                    line["rewards"] = dict.fromkeys(weights, 0.4 + 0.2 * float(self.rng.random()))
                    line["total"] = sum(rising(line["step"])[key] * v for key, v in line["rewards"].items())
                yield lines

    def rising(step: int) -> dict[str, float]:
        return {key: value * (1 + step / 50) for key, value in weights.items()}

    assert monitored(Still(11), AlarmSettings(), rising, falling) == set()
    # Without the weights the monitor can only go by the total.
    assert monitored(Still(11), AlarmSettings(), None, falling) == {"held_out"}


def test_a_fall_within_noise_is_no_alarm(training: Any, weights: Any) -> None:
    def falling(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": row["step"],
            "records": records,
            "figures": {"diagnosis_top1": 0.5 - 0.001 * row["step"]},
        }

    rising = training(11, "held_out")
    records = 50
    assert monitored(rising, AlarmSettings(), weights, falling) == set()
    records = 5_000
    assert monitored(training(11, "held_out"), AlarmSettings(), weights, falling) == {"held_out"}


def test_a_figure_that_is_no_share_is_held_against_its_own_scatter(training: Any, weights: Any) -> None:
    noise = [0.0, 9.0, -8.0, 5.0, -9.0, 7.0, -4.0, 8.0, -7.0, 2.0]

    def scattered(row: dict[str, Any]) -> dict[str, Any]:
        return figures(row, points=100 - 0.05 * row["step"] + noise[row["step"] // 10 - 1])

    def steady(row: dict[str, Any]) -> dict[str, Any]:
        return figures(row, points=100 - 0.05 * row["step"])

    settings = AlarmSettings(held_out_figures=("points",))
    assert monitored(training(11, "held_out"), settings, weights, scattered) == set()
    assert monitored(training(11, "held_out"), settings, weights, steady) == {"held_out"}

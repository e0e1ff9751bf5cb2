"""What a stage's logs tell of its rewards: figures by step, zero gradients, alarms, the judge's bill."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.report.curves import Curve, Lines
from skinflow_plugins.report.wording import finite

STEPS, ALARMS, USAGE = "reward_steps.jsonl", "alarms.jsonl", "judge_usage.jsonl"
COUNTED = ("calls", "hits", "retries", "prompt_tokens", "completion_tokens", "cost")
"""What a line of judge_usage.jsonl counts for its step."""

BETWEEN = 5
"""So many steps apart, two standstills are told as one."""


@dataclass(frozen=True)
class ComponentStory:
    """One reward over the steps; the band is one standard deviation, within lowest and highest."""

    key: str
    mean: Curve
    weight: Curve
    gated: Curve
    missing: Curve
    failed: Curve
    marks: tuple[Curve, ...]


@dataclass(frozen=True)
class Standstill:
    """Steps with no gradient from the rewards, or little; few others between. `why` is of the first."""

    first: int
    last: int
    steps: int  # from the first to the last
    little: int  # how many of them have little gradient or none
    none: int  # how many have none at all
    why: str


@dataclass(frozen=True)
class JudgeBill:
    """What the judge was asked in a stage, altogether and by step; no `currency` where no price is known."""

    totals: Mapping[str, float]
    currency: str
    failures: Mapping[str, int]
    calls: Curve
    hits: Curve


@dataclass(frozen=True)
class RewardStory:
    """Everything of this about one stage."""

    components: tuple[ComponentStory, ...] = ()
    total: Curve | None = None
    silent: Curve | None = None
    standstills: tuple[Standstill, ...] = ()
    alarms: tuple[Mapping[str, Any], ...] = ()
    bill: JudgeBill | None = None
    shown: tuple[Mapping[str, Any], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.components or self.alarms or self.bill or self.shown)


def read_rewards(
    folder: Path, shown: Iterable[Mapping[str, Any]], broken: Callable[[Lines], None]
) -> RewardStory:
    """The story of a stage's folder; an empty one where it was not watched.

    `shown` are completions of its last step; `broken` is told of each file once it is read.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name in (STEPS, ALARMS, USAGE):
        path = folder / name
        lines = Lines([path]) if path.is_file() else None
        found[name] = [row for row in lines if finite(row.get("step")) is not None] if lines else []
        if lines:
            broken(lines)
    steps = {int(row["step"]): row for row in found[STEPS]}  # a later line of a step is the valid one
    ordered = [steps[step] for step in sorted(steps)]
    keys = dict.fromkeys(key for row in ordered for key in _mapping(row.get("components")))
    return RewardStory(
        tuple(_component(str(key), ordered) for key in keys),
        _banded("total", ((row, _mapping(row.get("total"))) for row in ordered)) if ordered else None,
        _curve("silent groups", ordered, _silent) if ordered else None,
        tuple(_standstills(ordered)),
        tuple(sorted(found[ALARMS], key=lambda row: int(row["step"]))),
        _bill(found[USAGE]),
        tuple(shown),
    )


def _component(key: str, rows: list[dict[str, Any]]) -> ComponentStory:
    parts = [(row, _mapping(_mapping(row.get("components")).get(key))) for row in rows]

    def curve(name: str) -> Curve:
        return _curve(name, rows, lambda row: _mapping(_mapping(row.get("components")).get(key)).get(name))

    marks = dict.fromkeys(str(mark) for _, part in parts for mark in _mapping(part.get("marks")))
    return ComponentStory(
        key,
        _banded(key, parts),
        curve("weight"),
        curve("gated"),
        curve("missing"),
        curve("failed"),
        tuple(
            _points(mark, ((row, _mapping(part.get("marks")).get(mark)) for row, part in parts))
            for mark in marks
        ),
    )


def _banded(name: str, parts: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Curve:
    """The mean over the steps with its band."""
    points = []
    for row, part in parts:
        mean, spread = finite(part.get("mean")), finite(part.get("std"))
        if mean is not None:
            low, high = finite(part.get("min")), finite(part.get("max"))
            reach = spread or 0.0
            below, above = mean - reach, mean + reach
            ends = (below if low is None else max(below, low), above if high is None else min(above, high))
            points.append((int(row["step"]), mean, *ends))
    steps, means, lows, highs = zip(*points, strict=True) if points else ((), (), (), ())
    return Curve(name, steps, means, lows, highs)


def _curve(
    name: str, rows: Iterable[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], object]
) -> Curve:
    return _points(name, ((row, value(row)) for row in rows))


def _points(name: str, given: Iterable[tuple[Mapping[str, Any], object]]) -> Curve:
    points = [(int(row["step"]), number) for row, v in given if (number := finite(v)) is not None]
    return Curve(name, tuple(step for step, _ in points), tuple(number for _, number in points))


def _silent(row: Mapping[str, Any]) -> float | None:
    silent, groups = finite(row.get("silent_groups")), finite(row.get("groups"))
    return silent / groups if silent is not None and groups else None


def _standstills(rows: list[dict[str, Any]]) -> list[Standstill]:
    found: list[tuple[int, Standstill]] = []  # each with the place of its last row
    for place, row in enumerate(rows):
        why = row.get("zero_gradient")
        if not (isinstance(why, str) and why):
            continue
        step, none = int(row["step"]), int(_silent(row) == 1.0)
        if found and place - found[-1][0] <= BETWEEN:
            before, last = found[-1]
            steps = last.steps + place - before
            found[-1] = (
                place,
                Standstill(last.first, step, steps, last.little + 1, last.none + none, last.why),
            )
        else:
            found.append((place, Standstill(step, step, 1, 1, none, why)))
    return [each for _, each in found]


def _bill(rows: list[dict[str, Any]]) -> JudgeBill | None:
    if not rows:
        return None
    # A step may have several batches; a line that stands twice is one.
    places = {(int(row["step"]), int(finite(row.get("batch")) or 0)): row for row in rows}
    rows = [row for _, row in sorted(places.items())]
    totals: dict[str, float] = {}
    failures: dict[str, int] = defaultdict(int)
    for row in rows:
        for name in COUNTED:
            value = finite(row.get(name))
            if value is not None:
                totals[name] = totals.get(name, 0.0) + value
        for kind, n in _mapping(row.get("failures")).items():
            failures[str(kind)] += int(finite(n) or 0)
    currency = next((str(row["currency"]) for row in rows if row.get("currency")), "")
    curves = (_curve(name, rows, operator.methodcaller("get", name)) for name in ("calls", "hits"))
    return JudgeBill(totals, currency, dict(sorted(failures.items())), *curves)


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}

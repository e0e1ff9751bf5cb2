"""Curves of a training stage, read from its logs line by line; half a line at a log's end is left out."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.report.wording import finite

MOST_POINTS = 120
TOTAL = "weighted total"


@dataclass(frozen=True)
class Curve:
    """One number over the steps of a stage, with bounds at each step where they are known."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass
class Lines:
    """The whole JSON lines of some files; `broken` counts, once they are read, the lines that were none."""

    paths: Sequence[Path]
    broken: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.broken = 0
        for path in self.paths:
            with path.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    if not line.strip():
                        continue
                    try:
                        found = json.loads(line)
                    except ValueError:
                        found = None
                    if isinstance(found, dict):
                        yield found
                    else:
                        self.broken += 1


class _Means:
    """Means by name and step, without keeping what they are means of."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(self, name: str, step: int, value: object) -> None:
        number = finite(value)
        if number is not None:
            kept = self._sums[name][step]
            kept[0] += number
            kept[1] += 1

    def curves(self) -> list[Curve]:
        return [
            Curve(name, tuple(steps), tuple(steps[step][0] / steps[step][1] for step in steps))
            for name, steps in ((name, dict(sorted(found.items()))) for name, found in self._sums.items())
        ]


@dataclass
class LastStep:
    """The lines of the last step that was read; the files of several processes come one after another."""

    step: int = -1
    lines: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, step: int, line: Mapping[str, Any]) -> None:
        """Keep the line where it is of the last step so far."""
        if step > self.step:
            self.step, self.lines = step, []
        if step == self.step:
            self.lines.append(line)

    def shown(self) -> list[Mapping[str, Any]]:
        """The lines with the highest, the middle and the lowest total; none where no reward gave a reason."""
        known = [line for line in self.lines if line.get("why") and finite(line.get("total")) is not None]
        ranked = sorted(known, key=lambda line: (-line["total"], str(line.get("id")), str(line)))
        places = dict.fromkeys((0, len(ranked) // 2, len(ranked) - 1)) if ranked else {}
        return [ranked[place] for place in places]


def reward_curves(lines: Lines, last: LastStep | None = None) -> tuple[list[Curve], Curve | None, int]:
    """The mean of every reward and of their weighted total by step; of letters by step; completions read.

    `last` is given every line.
    """
    means, letters, count = _Means(), _Means(), 0
    for row in lines:
        step = finite(row.get("step"))
        if step is None:
            lines.broken += 1
            continue
        count += 1
        if last is not None:
            last.add(int(step), row)
        rewards = row.get("rewards")
        for name, value in rewards.items() if isinstance(rewards, Mapping) else ():
            means.add(str(name), int(step), value)
        means.add(TOTAL, int(step), row.get("total"))
        if isinstance(row.get("completion"), str):
            letters.add("letters", int(step), len(row["completion"]))
    found = sorted(means.curves(), key=lambda curve: curve.name == TOTAL)
    return found, next(iter(letters.curves()), None), count


def logged_curves(lines: Lines) -> dict[str, Curve]:
    """Every number of swift's log by step; its two lines about the end are left out."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in lines:
        at = str(row.get("global_step/max_steps", "")).partition("/")[0]
        if not at.isdecimal() or "train_runtime" in row:
            continue
        for name, value in row.items():
            number = finite(value)
            if number is not None:
                found[name][int(at)] = number
    ordered = {name: dict(sorted(values.items())) for name, values in found.items()}
    return {name: Curve(name, tuple(values), tuple(values.values())) for name, values in ordered.items()}


def evaluation_curves(lines: Lines) -> dict[str, Curve]:
    """The figures of every evaluation during training by step; a figure may be a number, or hold one."""
    found: dict[str, dict[int, tuple[float, float | None, float | None]]] = defaultdict(dict)
    for row in lines:
        step = finite(row.get("step"))
        if step is None:
            lines.broken += 1
            continue
        inner = row.get("figures")
        for name, given in (inner if isinstance(inner, Mapping) else row).items():
            parts = given if isinstance(given, Mapping) else {"value": given}
            value = finite(parts.get("value"))
            if value is not None and name not in ("step", "seconds", "format", "epoch"):
                found[str(name)][int(step)] = value, finite(parts.get("low")), finite(parts.get("high"))
    return {name: _with_bounds(name, dict(sorted(points.items()))) for name, points in found.items()}


def _with_bounds(name: str, points: Mapping[int, tuple[float, float | None, float | None]]) -> Curve:
    lows = [low for _, low, _ in points.values() if low is not None]
    highs = [high for _, _, high in points.values() if high is not None]
    whole = len(lows) == len(highs) == len(points)
    bounds = (tuple(lows), tuple(highs)) if whole else ((), ())
    return Curve(name, tuple(points), tuple(value for value, _, _ in points.values()), *bounds)


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """The curve with at most `most` points: means of as many neighbouring points as that takes."""
    size = math.ceil(len(curve.steps) / most)
    if size <= 1:
        return curve

    def means(values: Sequence[float]) -> tuple[float, ...]:
        parts = [values[start : start + size] for start in range(0, len(values), size)]
        return tuple(math.fsum(part) / len(part) for part in parts)

    last = tuple(curve.steps[min(at + size, len(curve.steps)) - 1] for at in range(0, len(curve.steps), size))
    return Curve(curve.name, last, means(curve.values), means(curve.low), means(curve.high))


def span(curve: Curve, most: int = MOST_POINTS) -> int:
    """How many points of the curve `thinned` takes together."""
    return max(1, math.ceil(len(curve.steps) / most))

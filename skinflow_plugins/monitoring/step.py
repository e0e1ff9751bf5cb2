"""The lines of one step as columns: what everything else here is computed from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.monitoring.alarm import Line

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Component:
    """One reward in a step, by completion; `values` is NaN where nothing is known.

    `judged` are the rows whose value is the reward's own; a missing row's value is its group's mean.
    """

    values: Floats
    missing: Bools
    failed: Bools
    gated: Bools
    marks: Mapping[str, Floats]

    @property
    def judged(self) -> Bools:
        found: Bools = ~self.missing & np.isfinite(self.values)
        return found


@dataclass(frozen=True)
class Step:
    """A step: its lines in a fixed order, the group of each (0 to `groups` - 1), figures by completion."""

    number: int
    lines: Sequence[Line]
    group: NDArray[np.intp]
    groups: int
    totals: Floats
    lengths: Floats
    unit: str  # tokens | letters
    components: Mapping[str, Component]

    def __len__(self) -> int:
        return len(self.lines)

    def ids(self, group: int) -> str:
        """The id of the record behind a group."""
        return str(self.lines[int(np.argmax(self.group == group))].get("id"))


def read_step(lines: Iterable[Line]) -> Step:
    """The step of these lines of rewards.jsonl; their order does not count. At least one line is needed.

    Raises `ValueError` when there is none, or when they are of several steps.
    """
    kept = [
        line for _, alike in groupby(sorted(lines, key=_place), key=_place) for line in _ordered(list(alike))
    ]
    numbers = {int(line["step"]) for line in kept}
    if len(numbers) != 1:
        raise ValueError(f"expected the lines of one step, found the steps {sorted(numbers)}")
    names: dict[Any, int] = {}
    group = np.array([names.setdefault(_group(line), len(names)) for line in kept], dtype=np.intp)
    tokens = [line.get("tokens") for line in kept]
    known = all(isinstance(each, int | float) for each in tokens)
    lengths = tokens if known else [len(str(line.get("completion", ""))) for line in kept]
    return Step(
        numbers.pop(),
        kept,
        group,
        len(names),
        np.array([_number(line.get("total")) for line in kept]),
        np.array(lengths, dtype=np.float64),
        "tokens" if known else "letters",
        {key: _component(key, kept) for key in _keys(kept)},
    )


def _place(line: Line) -> tuple[Any, ...]:
    return str(_group(line)), str(line.get("id")), str(line.get("completion", "")), line.get("total") or 0.0


def _ordered(alike: list[Line]) -> list[Line]:
    """Lines of one completion text in an order that does not rest on which process wrote them."""
    return sorted(alike, key=str) if len(alike) > 1 else alike


def _group(line: Line) -> Any:
    """What competes together: the group, or in older logs the record."""
    group = line.get("group")
    return group if group is not None else (line.get("id"), line.get("task"))


def _keys(lines: Sequence[Line]) -> list[str]:
    found: dict[str, None] = {}
    for line in lines:
        for part in ("rewards", "missing", "gated"):
            found |= dict.fromkeys(line.get(part) or ())
    return sorted(found)


def _component(key: str, lines: Sequence[Line]) -> Component:
    marks: dict[str, list[float]] = {}
    for row, line in enumerate(lines):
        for mark, value in ((line.get("marks") or {}).get(key) or {}).items():
            marks.setdefault(mark, [math.nan] * len(lines))[row] = _number(value)
    return Component(
        np.array([_number((line.get("rewards") or {}).get(key)) for line in lines]),
        np.array([key in (line.get("missing") or ()) for line in lines], dtype=np.bool_),
        np.array([key in (line.get("failed") or ()) for line in lines], dtype=np.bool_),
        np.array([key in (line.get("gated") or ()) for line in lines], dtype=np.bool_),
        {mark: np.array(values) for mark, values in sorted(marks.items())},
    )


def _number(value: object) -> float:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return math.nan


def spread_within(step: Step, values: Floats) -> Floats:
    """Highest minus lowest value of each group; 0 for a group in which fewer than two are known."""
    known = np.isfinite(values)
    low, high = np.full(step.groups, np.inf), np.full(step.groups, -np.inf)
    np.minimum.at(low, step.group[known], values[known])
    np.maximum.at(high, step.group[known], values[known])
    found: Floats = np.where(high > low, high - low, 0.0)
    return found


def centred(step: Step, values: Floats) -> Floats:
    """Each value minus the mean of its group; NaN stays."""
    known = np.isfinite(values)
    sums = np.bincount(step.group[known], values[known], step.groups)
    counts = np.bincount(step.group[known], minlength=step.groups)
    means = np.divide(sums, counts, out=np.zeros(step.groups), where=counts > 0)
    found: Floats = values - means[step.group]
    return found

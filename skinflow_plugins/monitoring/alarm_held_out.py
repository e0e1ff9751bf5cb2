"""An alarm for the plainest sign of a gamed reward: it rises while a held-out figure falls.

Over-optimisation of a proxy looks like this (Gao et al. 2022, arXiv 2210.10760).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from skinflow_plugins.monitoring.alarm import Finding
from skinflow_plugins.monitoring.history import History, change

TOGETHER = 2
"""Evaluations that are averaged: the best single one of many is so by luck."""
ERRORS = 3.0


def held_out(history: History) -> Iterator[Finding]:
    """The total has risen since the best evaluations, and the figure has fallen since."""
    settings = history.settings
    rows = [row for row in history.evaluations if isinstance(row.get("figures"), Mapping)]
    if not history.filled or len(rows) < settings.least_evaluations:
        return
    for name, sign in _counted(rows, settings.held_out_figures):
        points = [(int(row["step"]), v, row) for row in rows if (v := _value(row, name)) is not None]
        if len(points) < settings.least_evaluations:
            continue
        values = np.array([value for _, value, _ in points])
        means = np.convolve(sign * values, np.ones(TOGETHER) / TOGETHER, "valid")
        best = int(np.argmax(means))
        fall = float(means[best] - means[-1])
        if fall < max(settings.held_out_fall, ERRORS * _error(values, points[best][2])):
            continue
        since = points[best + TOGETHER - 1][0]
        rise = _risen(history, since)
        if rise is None:
            continue
        before, now = (float(sign * each) for each in (means[best], means[-1]))
        message = (
            f"The reward rises while {name} {'falls' if sign > 0 else 'rises'} on the held-out records: "
            f"{before:.3f} in the evaluations up to step {since}, {now:.3f} up to step {points[-1][0]}; "
            f"the mean total went from {rise[0]:.3f} to {rise[1]:.3f}."
        )
        step = history.step
        example = step.lines[int(np.argmax(np.nan_to_num(step.totals, nan=-math.inf)))]
        yield Finding(message, -fall, -settings.held_out_fall, example, name)


def _counted(rows: list[Mapping[str, Any]], patterns: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """The figures that count, each with 1 where more is better and -1 where less is."""
    names = dict.fromkeys(str(name) for row in rows for name in row["figures"])
    for name in names:
        for pattern in patterns:
            if fnmatchcase(name, pattern.removeprefix("-")):
                yield name, -1.0 if pattern.startswith("-") else 1.0
                break


def _value(row: Mapping[str, Any], name: str) -> float | None:
    given = row["figures"].get(name)
    value = given.get("value") if isinstance(given, Mapping) else given
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _error(values: np.ndarray[Any, np.dtype[np.float64]], row: Mapping[str, Any]) -> float:
    """The standard error of a difference of two means of `TOGETHER` evaluations.

    A share of n records has that of n draws; the same records each time only make it less. Another figure
    has the scatter between neighbouring evaluations.
    """
    records = row.get("records")
    if records and ((values >= 0) & (values <= 1)).all():
        share = float(values.mean())
        return math.sqrt(2 / TOGETHER * share * (1 - share) / float(records))
    return float(np.median(np.abs(np.diff(values)))) / 0.6745 / math.sqrt(2) * math.sqrt(2 / TOGETHER)


def _risen(history: History, since: int) -> tuple[float, float] | None:
    """The mean total in the window up to the step `since`, and in the last one, where it has risen.

    By the weights of today: a total that rises by a schedule of weights has not been earned.
    """
    window = history.settings.window
    until = [row for row in history.means if row[0] <= since][-window:]
    last = history.means[-window:]
    found = change(*([_total(history, row) for row in rows] for rows in (until, last)))
    if found is None or found.difference < history.settings.held_out_rise or found.errors < ERRORS:
        return None
    return found.before, found.now


def _total(history: History, row: tuple[int, float, Mapping[str, float]]) -> float:
    _, total, means = row
    weights = history.weights
    if means and all(key in weights for key in means):
        return math.fsum(weights[key] * value for key, value in means.items() if math.isfinite(value))
    return total

"""The line of reward_steps.jsonl: what a step's completions got, reward by reward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from skinflow_plugins.monitoring.alarm import Line
from skinflow_plugins.monitoring.step import Component, Floats, Step, read_step, spread_within
from skinflow_plugins.monitoring.zero_gradient import SAME, Ranges, zero_gradient

DIGITS = 6


def step_report(
    lines: Iterable[Line], weights: Mapping[str, float] | None = None, *, ranges: Ranges | None = None
) -> dict[str, Any]:
    """The line of reward_steps.jsonl for the lines of one step.

    Mean, std, min and max of a reward are over the rows that it judged itself, and null where there is none;
    `std` is that of a sample, 0 for a single row. `missing`, `failed` and `gated` are shares of all rows.
    A mark's mean is over the rows that carry it. `weight` is absent for a reward without one in `weights`.
    `ranges` are the declared bounds of rewards by key, by default 0 to 1, for the words on the gradient.
    Raises `ValueError` as `read_step` does.
    """
    return report_of(read_step(lines), weights or {}, ranges or {})


def report_of(step: Step, weights: Mapping[str, float], ranges: Ranges) -> dict[str, Any]:
    """The same of a step that has been read."""
    silent = spread_within(step, step.totals) <= SAME
    return {
        "step": step.number,
        "completions": len(step),
        "components": {key: _part(each, weights.get(key)) for key, each in step.components.items()},
        "total": _figures(step.totals[np.isfinite(step.totals)]),
        "length": {**_figures(step.lengths), "unit": step.unit},
        "groups": step.groups,
        "silent_groups": int(silent.sum()),
        "zero_gradient": zero_gradient(step, weights, ranges),
    }


def _part(component: Component, weight: float | None) -> dict[str, Any]:
    found: dict[str, Any] = _figures(component.values[component.judged])
    if weight is not None:
        found["weight"] = round(weight, DIGITS)  # from a tensor it has the digits of 32 bits
    for name in ("missing", "failed", "gated"):
        found[name] = round(float(getattr(component, name).mean()), DIGITS)
    marks = {
        mark: round(float(np.mean(values[np.isfinite(values)])), DIGITS)
        for mark, values in component.marks.items()
        if np.isfinite(values).any()
    }
    return {**found, "marks": marks} if marks else found


def _figures(values: Floats) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("mean", "std", "min", "max"))
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    figures = {"mean": values.mean(), "std": spread, "min": values.min(), "max": values.max()}
    return {name: round(float(value), DIGITS) for name, value in figures.items()}

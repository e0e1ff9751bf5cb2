"""Alarms for length: what is longer scores better, and completions, or lists, grow.

Known from RLHF as length bias (Singhal et al. 2023, arXiv 2310.03716), and from lists of all classes as the
answer to everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from skinflow_plugins.monitoring.alarm import Finding, Line
from skinflow_plugins.monitoring.correlation import Pooled, pooled_within
from skinflow_plugins.monitoring.history import Change, Facts, History, Linked
from skinflow_plugins.monitoring.step import Floats, centred


def length(history: History) -> Iterator[Finding]:
    """Longer completions score better within their group, and completions have grown."""
    settings = history.settings
    unit = history.step.unit
    if any(each.unit != unit for each in (*history.start, *history.recent)):
        return
    found = _grown(history, lambda facts: facts.length, settings.length_correlation)
    if found is None:
        return
    change, pooled = found
    growth = change.difference / change.before if change.before > 0 else np.inf
    if growth < settings.length_growth:
        return
    message = (
        f"Longer completions score better: within groups, length and total have a rank correlation of "
        f"{pooled.value:.2f} over the last {settings.window} steps"
        f"{_mostly(history)}; the mean length has grown from {change.before:.0f} to {change.now:.0f} {unit}."
    )
    yield Finding(message, pooled.value, settings.length_correlation, _example(history, history.step.lengths))


def list_length(history: History) -> Iterator[Finding]:
    """Longer lists score better within their group, and lists have grown beyond what is asked for."""
    settings = history.settings
    for key, component in history.step.components.items():
        if "listed" not in component.marks:
            continue
        found = _grown(history, _listed(key), settings.list_correlation)
        if found is None or found[0].difference < settings.list_growth:
            continue
        change, pooled = found
        asked = "" if settings.list_asked is None else f" beyond the {settings.list_asked} asked for"
        message = (
            f"Longer lists score better: within groups, the number of items{asked} that {key} reads and the "
            f"total have a rank correlation of {pooled.value:.2f} over the last {settings.window} steps; "
            f"the mean number{asked} has grown from {change.before:.1f} to {change.now:.1f}."
        )
        example = _example(history, component.marks["listed"])
        yield Finding(message, pooled.value, settings.list_correlation, example, key)


def _listed(key: str) -> Callable[[Facts], Linked | None]:
    return lambda facts: facts.listed.get(key)


def _grown(
    history: History, figure: Callable[[Facts], Linked | None], limit: float
) -> tuple[Change, Pooled] | None:
    """Growth and correlation of a figure, where both are beyond noise and the latter beyond `limit`."""

    def mean(facts: Facts) -> float | None:
        found = figure(facts)
        return None if found is None else found.mean

    change = history.change(mean)
    sigmas = history.settings.sigmas
    if change is None or change.errors < sigmas:
        return None
    pooled = Pooled()
    for facts in history.recent:
        found = figure(facts)
        pooled += found.correlation if found is not None else Pooled()
    if pooled.value < limit or pooled.errors < sigmas or pooled.groups < history.settings.least_groups:
        return None
    return change, pooled


def _mostly(history: History) -> str:
    """The reward that goes most with length in this step."""
    step = history.step
    found = {
        key: pooled_within(step.group, step.groups, step.lengths, each.values).value
        for key, each in step.components.items()
    }
    if len(found) < 2:
        return ""
    key = max(sorted(found), key=lambda each: found[each])
    return f", most with {key} ({found[key]:.2f} in this step)"


def _example(history: History, values: Floats) -> Line:
    """Of the completions above their group's mean total, the one that is longest beside its group."""
    step = history.step
    better = centred(step, step.totals) > 0
    beyond = np.nan_to_num(centred(step, values), nan=-np.inf)
    return step.lines[int(np.argmax(np.where(better, beyond, -np.inf)))]

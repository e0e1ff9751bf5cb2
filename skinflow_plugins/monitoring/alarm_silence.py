"""Alarms for rewards that do not speak: gates that stay closed, no judgement, failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from skinflow_plugins.monitoring.alarm import Finding, Line
from skinflow_plugins.monitoring.history import Facts, History


def gated(history: History) -> Iterator[Finding]:
    """A reward's gate is closed for nearly all completions, so that it teaches nothing."""
    settings = history.settings
    silent = dict(_shares(history, "missing"))
    for key, closed in _shares(history, "gated"):
        judged = 1 - silent[key]
        share = closed / judged if judged > 0 else 0.0
        if share >= settings.gated_share:
            message = (
                f"The gate of {key} was closed for {_percent(share)} of the completions that it judged in "
                f"the last {settings.window} steps: it teaches next to nothing. Lower the gate, or teach "
                f"what it asks for first."
            )
            example = _highest_gated(history, key)
            yield Finding(message, share, settings.gated_share, example, key)


def missing(history: History) -> Iterator[Finding]:
    """A reward has no judgement on many completions, and on more than at first."""
    settings = history.settings
    for key, share in _shares(history, "missing"):
        change = history.change(_unfailed(key))
        if change is None or change.errors < settings.sigmas:
            continue
        if share >= settings.missing_share and change.difference >= settings.missing_rise:
            message = (
                f"{key} has no judgement on {_percent(change.now)} of the completions "
                f"({_percent(change.before)} in the first steps). Such a completion gets the mean of its "
                f"group and loses nothing: the policy may be learning to write what cannot be judged. Most "
                f"often: {_why(history, key, failed=False)}."
            )
            example = history.last["missing", key]
            yield Finding(message, change.now, settings.missing_share, example, key)


def failed(history: History) -> Iterator[Finding]:
    """A reward fails on a share of the completions, through no fault of theirs."""
    settings = history.settings
    for key, share in _shares(history, "failed"):
        if share >= settings.failed_share:
            message = (
                f"{key} failed on {_percent(share)} of the completions of the last {settings.window} steps. "
                f"Most often: {_why(history, key, failed=True)}."
            )
            example = history.last["failed", key]
            yield Finding(message, share, settings.failed_share, example, key)


def _shares(history: History, name: str) -> Iterator[tuple[str, float]]:
    """Each reward of this step with its share over the window, weighted by completions."""
    if not history.filled:
        return
    weights = np.array([facts.completions for facts in history.recent], dtype=np.float64)
    for key in history.step.components:
        values = np.array([facts.shares[name].get(key, math.nan) for facts in history.recent])
        known = np.isfinite(values)
        yield key, float(np.average(values[known], weights=weights[known]))


def _unfailed(key: str) -> Callable[[Facts], float | None]:
    """The share without a judgement by choice."""

    def share(facts: Facts) -> float | None:
        found = facts.shares["missing"].get(key)
        return None if found is None else found - facts.shares["failed"].get(key, 0.0)

    return share


def _why(history: History, key: str, *, failed: bool) -> str:
    """The most frequent reason of this step, or else the last one."""
    texts = Counter(
        str(line["missing"][key])
        for line in history.step.lines
        if key in (line.get("missing") or ()) and (key in (line.get("failed") or ())) == failed
    )
    if texts:
        return min(texts, key=lambda text: (-texts[text], text))
    line = history.last.get(("failed" if failed else "missing", key), {})
    return str((line.get("missing") or {}).get(key, "not known"))


def _highest_gated(history: History, key: str) -> Line:
    """Of the completions whose gate is closed in this step, the one that the reward thought best."""
    closed = [line for line in history.step.lines if key in (line.get("gated") or ())]
    return max(closed, key=lambda line: float(line["gated"][key]), default=history.last["gated", key])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"

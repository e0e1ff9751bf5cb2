"""Alarms for shares of marked completions: general words as answers, and a judge against the matcher."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from skinflow_plugins.monitoring.alarm import Finding, Line
from skinflow_plugins.monitoring.history import Change, Facts, History

GENERIC, DIFFERS = "generic", "judge_matcher_differ"


def generic(history: History) -> Iterator[Finding]:
    """The share of answers that begin with a general word is high, and has risen."""
    settings = history.settings
    for key in _keys(history, GENERIC):
        found = history.change(_mark(GENERIC, key))
        if found is None or found.errors < settings.sigmas:
            continue
        if found.now >= settings.generic_share and found.difference >= settings.generic_rise:
            message = (
                f"Answers become general: {_percent(found)} begin with a word that names no disease "
                f"(such as “dermatitis”), by the marks of {key}."
            )
            yield Finding(message, found.now, settings.generic_share, _marked(history, GENERIC, key), key)


def judge_differs(history: History) -> Iterator[Finding]:
    """The judge and the matcher disagree on a large share of answers, or on more and more."""
    settings = history.settings
    if not history.filled:
        return
    for key in _keys(history, DIFFERS):
        known = [v for facts in history.recent if (v := _mark(DIFFERS, key)(facts)) is not None and v == v]
        if len(known) < settings.window / 2:
            continue
        now, limit = float(np.mean(known)), settings.differ_share
        risen = history.change(_mark(DIFFERS, key))
        if now >= limit:
            words = f"on {100 * now:.0f} % of the answers of the last {settings.window} steps"
        elif (
            risen is not None and risen.difference >= settings.differ_rise and risen.errors >= settings.sigmas
        ):
            limit = risen.before + settings.differ_rise
            words = f"more and more often: on {_percent(risen)}"
        else:
            continue
        message = (
            f"Judge and matcher disagree in {key} {words}. One of them is being fooled, or is too strict."
        )
        yield Finding(message, now, limit, _marked(history, DIFFERS, key), key)


def _keys(history: History, mark: str) -> list[str]:
    return [key for key, each in history.step.components.items() if mark in each.marks]


def _mark(mark: str, key: str) -> Callable[[Facts], float | None]:
    return lambda facts: facts.marks.get(mark, {}).get(key)


def _percent(change: Change) -> str:
    return f"{100 * change.now:.0f} % ({100 * change.before:.0f} % in the first steps)"


def _marked(history: History, mark: str, key: str) -> Line:
    """The completion with this mark that earns most."""
    step = history.step
    marked = step.components[key].marks[mark] > 0
    if not marked.any():
        return history.last[mark, key]
    return step.lines[int(np.argmax(np.where(marked, np.nan_to_num(step.totals), -np.inf)))]

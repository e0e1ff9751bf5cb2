"""What the alarms look at: figures of the first steps of a stage, of the last ones, and the step itself."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skinflow_plugins.monitoring.agreement import Agreement, AgreementWindow
from skinflow_plugins.monitoring.alarm import Line
from skinflow_plugins.monitoring.correlation import Pooled, pooled_within
from skinflow_plugins.monitoring.settings import AlarmSettings
from skinflow_plugins.monitoring.step import Floats, Step, centred


@dataclass(frozen=True, slots=True)
class Linked:
    """A figure of the completions in a step: its mean, and how it goes with the total within groups."""

    mean: float
    correlation: Pooled


@dataclass(frozen=True, slots=True)
class Facts:
    """A step in few numbers; all that is kept of it."""

    step: int
    completions: int
    groups: int
    total: float
    means: Mapping[str, float]
    length: Linked
    unit: str
    listed: Mapping[str, Linked]
    marks: Mapping[str, Mapping[str, float]]  # mark -> reward -> mean
    shares: Mapping[str, Mapping[str, float]]  # gated | missing | failed -> reward -> share
    parts: Mapping[str, float]  # reward -> covariance of its part of the total with the total
    variance: float


@dataclass
class History:
    """The stage so far, as far as alarms need it; steps are added in their order."""

    settings: AlarmSettings
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    start: list[Facts] = field(default_factory=list)
    recent: deque[Facts] = field(default_factory=deque)
    means: list[tuple[int, float, Mapping[str, float]]] = field(default_factory=list)
    weights: Mapping[str, float] = field(default_factory=dict)
    evaluations: Sequence[Mapping[str, Any]] = ()
    agreement: Mapping[str, Agreement] = field(default_factory=dict)
    first_agreement: Mapping[str, Agreement] = field(default_factory=dict)
    last: dict[tuple[str, str], Line] = field(default_factory=dict)
    """By part (gated, missing, failed) or mark, and reward, the last line with it; not every step has one."""

    def __post_init__(self) -> None:
        self._agreements = AgreementWindow(self.settings.window)
        self._step: Step | None = None

    @property
    def step(self) -> Step:
        """The last step that was added."""
        assert self._step is not None
        return self._step

    def add(self, step: Step, evaluations: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> None:
        """Take in a step, with the evaluations so far and the weights of the rewards in it."""
        facts = facts_of(step, weights, self.settings.list_asked)
        if len(self.start) < self.settings.window:
            self.start.append(facts)
        self.recent.append(facts)
        if len(self.recent) > self.settings.window:
            self.recent.popleft()
        self._remember(step)
        self.means.append((facts.step, facts.total, facts.means))
        self.evaluations, self.weights, self._step = evaluations, weights, step
        if self.settings.wants("template"):
            self._agreements.add(step)
            self.agreement = dict(self._agreements.now())
        if len(self.means) == self.settings.window:
            self.first_agreement = self.agreement

    def _remember(self, step: Step) -> None:
        for key, component in step.components.items():
            parts = {name: getattr(component, name) for name in ("gated", "missing", "failed")}
            parts |= {mark: values > 0 for mark, values in component.marks.items()}
            for name, rows in parts.items():
                if rows.any():
                    self.last[name, key] = step.lines[int(np.argmax(rows))]

    def most_frequent(self, part: str) -> tuple[bytes, int]:
        """The digest of the most frequent completion of the window, by a part of it, and how often it is."""
        return self._agreements.most_frequent(part)

    @property
    def filled(self) -> bool:
        """Whether the last window is whole and holds enough to speak of."""
        return (
            len(self.recent) == self.settings.window
            and sum(each.completions for each in self.recent) >= self.settings.least_completions
            and sum(each.groups for each in self.recent) >= self.settings.least_groups
        )

    @property
    def comparable(self) -> bool:
        """Whether the last window can be held against the first one: they share no step."""
        return self.filled and len(self.means) >= 2 * self.settings.window

    def change(self, figure: Callable[[Facts], float | None]) -> Change | None:
        """How a figure of the steps has changed since the first window; None where it is not known."""
        if not self.comparable:
            return None
        return change(*([figure(each) for each in steps] for steps in (self.start, self.recent)))


@dataclass(frozen=True, slots=True)
class Change:
    """Two means and how many standard errors, by the scatter of the steps, lie between them."""

    before: float
    now: float
    errors: float

    @property
    def difference(self) -> float:
        return self.now - self.before


def change(before: Sequence[float | None], now: Sequence[float | None]) -> Change | None:
    """The change from some steps to others; None where fewer than half of either know the figure."""
    first, last = (
        np.array([v for v in each if v is not None and math.isfinite(v)]) for each in (before, now)
    )
    if len(first) < max(2, len(before) / 2) or len(last) < max(2, len(now) / 2):
        return None
    error = math.sqrt(first.var(ddof=1) / len(first) + last.var(ddof=1) / len(last))
    difference = float(last.mean() - first.mean())
    errors = difference / error if error > 0 else math.copysign(math.inf, difference) if difference else 0.0
    return Change(float(first.mean()), float(last.mean()), errors)


def facts_of(step: Step, weights: Mapping[str, float], list_asked: int | None) -> Facts:
    """The few numbers of a step."""
    marks: dict[str, dict[str, float]] = {}
    listed: dict[str, Linked] = {}
    for key, component in step.components.items():
        for mark, values in component.marks.items():
            marks.setdefault(mark, {})[key] = _mean(values)
            if mark == "listed":
                beyond = values if list_asked is None else np.maximum(values - list_asked, 0.0)
                listed[key] = _linked(step, beyond)
    total = centred(step, np.nan_to_num(step.totals))
    parts = {}
    for key, component in step.components.items():
        if key in weights:
            own = centred(step, weights[key] * np.nan_to_num(component.values))
            parts[key] = float(own @ total)
    shares = {
        name: {key: float(getattr(each, name).mean()) for key, each in step.components.items()}
        for name in ("gated", "missing", "failed")
    }
    return Facts(
        step.number,
        len(step),
        step.groups,
        _mean(step.totals),
        {key: _mean(each.values) for key, each in step.components.items()},
        _linked(step, step.lengths),
        step.unit,
        listed,
        marks,
        shares,
        parts,
        float(total @ total),
    )


def _linked(step: Step, values: Floats) -> Linked:
    return Linked(_mean(values), pooled_within(step.group, step.groups, values, step.totals))


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan

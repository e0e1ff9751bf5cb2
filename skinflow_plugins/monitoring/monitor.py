"""The monitor of a stage: fed with each step's lines, it gives the step's figures and new alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from skinflow_plugins.monitoring import (
    alarm_held_out,
    alarm_length,
    alarm_marks,
    alarm_one_sided,
    alarm_silence,
    alarm_template,
)
from skinflow_plugins.monitoring.alarm import Alarm, Finding, Line, shortened
from skinflow_plugins.monitoring.history import History
from skinflow_plugins.monitoring.settings import AlarmSettings
from skinflow_plugins.monitoring.step import read_step
from skinflow_plugins.monitoring.step_line import report_of
from skinflow_plugins.monitoring.zero_gradient import Ranges

LOOKS: Mapping[str, Callable[[History], Iterator[Finding]]] = {
    "held_out": alarm_held_out.held_out,
    "length": alarm_length.length,
    "list_length": alarm_length.list_length,
    "template": alarm_template.template,
    "generic": alarm_marks.generic,
    "judge_differs": alarm_marks.judge_differs,
    "gated": alarm_silence.gated,
    "missing": alarm_silence.missing,
    "failed": alarm_silence.failed,
    "one_sided": alarm_one_sided.one_sided,
}
"""The function of each kind: it finds nothing, or one thing for each reward or figure that it is about."""


class Monitor:
    """Watches one stage. It keeps a window of figures, and of the completions only what is needed.

    The same lines and evaluations give the same figures and alarms, whatever the order of a step's lines; a
    resumed stage feeds the old ones again.
    """

    def __init__(self, settings: AlarmSettings | None = None, *, ranges: Ranges | None = None) -> None:
        self.settings = settings or AlarmSettings()
        self.ranges: Ranges = ranges or {}
        self._history = History(self.settings, self.ranges)
        self._looks = {kind: look for kind, look in LOOKS.items() if self.settings.wants(kind)}
        self._held: dict[tuple[str, str], int] = {}  # for how many steps in succession it has been found
        self._quiet: dict[tuple[str, str], int] = {}  # raised, and since how many steps it is not found

    def add(
        self,
        lines: Iterable[Line],
        evaluations: Sequence[Mapping[str, Any]] = (),
        weights: Mapping[str, float] | None = None,
    ) -> tuple[dict[str, Any], list[Alarm]]:
        """The line of reward_steps.jsonl, and the alarms that this step raises.

        `evaluations` are lines of evaluations.jsonl, of which those before this step count; `weights` are
        those of the rewards in it. Without weights two things are not known: the alarm `one_sided`, and
        whether a total rises by its weights alone. Raises `ValueError` as `read_step` does.
        """
        step = read_step(lines)
        weights = weights or {}
        # That of this very step is made after it; a resumed stage would know it too early.
        earlier = [row for row in evaluations if int(row.get("step", 0)) < step.number]
        self._history.add(step, earlier, weights)
        raised = []
        found = set()
        for kind, look in self._looks.items():
            for finding in look(self._history):
                found.add((kind, finding.subject))
                if self._is_new((kind, finding.subject)):
                    raised.append(_alarm(step.number, kind, finding))
        self._rest(found)
        return report_of(step, weights, self.ranges), raised

    def _is_new(self, key: tuple[str, str]) -> bool:
        """Whether this finding has lasted long enough, and was not raised already."""
        self._held[key] = self._held.get(key, 0) + 1
        if key in self._quiet:
            self._quiet[key] = 0
            return False
        if self._held[key] < self.settings.patience:
            return False
        self._quiet[key] = 0
        return True

    def _rest(self, found: set[tuple[str, str]]) -> None:
        """An alarm that is no longer found may be raised again after a window without it."""
        self._held = {key: steps for key, steps in self._held.items() if key in found}
        for key in list(self._quiet):
            if key not in found:
                self._quiet[key] += 1
                if self._quiet[key] >= self.settings.window:
                    del self._quiet[key]


def _alarm(step: int, kind: str, finding: Finding) -> Alarm:
    return Alarm(step, kind, finding.message, finding.value, finding.limit, shortened(finding.example))

"""When an alarm is raised: its thresholds, each with the reason for its default."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.options import fits

KINDS: Mapping[str, str] = {
    "held_out": "the reward rises while a figure of the held-out records falls",
    "length": "longer completions score better, and completions grow",
    "list_length": "longer lists score better, and lists grow",
    "template": "completions hardly depend on their prompt any more",
    "generic": "answers begin with a general word more and more often",
    "judge_differs": "the judge and the matcher disagree often",
    "gated": "a gate is closed for nearly all completions",
    "missing": "a reward has no judgement more and more often",
    "failed": "a reward fails to judge",
    "one_sided": "one reward makes the whole gradient while one of more weight says nothing",
}
"""Every kind of alarm, with what it means."""
_SHARES = (
    *("length_correlation", "list_correlation", "template_share", "template_kappa", "generic_share"),
    *("generic_rise", "differ_share", "differ_rise", "gated_share", "missing_share", "missing_rise"),
    *("failed_share", "one_sided_share", "held_out_fall", "held_out_rise"),
)
_COUNTS = ("window", "patience", "least_completions", "least_groups", "least_evaluations")


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    """Thresholds of the alarms. An alarm needs its figure beyond the threshold and beyond noise.

    *What is looked at.* Figures are taken over the last `window` steps and held against the first `window`
    steps of the stage, from the step on at which both are known and distinct. 20 steps are some 10 % of a
    short GRPO stage. A window must hold `least_completions` and `least_groups`, or nothing is said: a
    correlation of 0.3 is three standard errors away from none at 100 completions. An alarm is raised when
    `patience` steps in succession find it, and again only after `window` steps in succession without it.
    `sigmas` is how many standard errors of the step-to-step scatter a change must have: at 4, chance alone
    crosses it once in some 30,000 looks.

    *length*: rank correlation of length and total within groups, so that hard prompts, which get both long
    answers and low rewards, do not count. `length_correlation` 0.3 is what a reward of half noise and half
    length gives at groups of 8; `length_growth` is the growth over the first steps, as a share.

    *list_length*: the same for the mark `listed`, in items. `list_asked` is how many the prompt asks for: up
    to there longer lists are what was asked, and only what goes beyond is an alarm. None when it is unknown:
    then any growth counts.

    *template*: of two completions to different prompts, a share of at least `template_share` agrees in all
    but numbers, and completions to the same prompt agree hardly more often: beyond chance by at most
    `template_kappa` (Fleiss' kappa, 0 when the prompt says nothing, 1 when it says all). A task of few
    answers has the first without the second, as long as the policy looks at the image. 0.6 is more than a
    coin for two answers gives.

    *generic*, *judge_differs*: shares of completions with the marks `generic` and `judge_matcher_differ`;
    the share itself, and its rise over the first steps. For the judge either is enough: beyond a quarter,
    one of the two is not to be trusted (`differ_share`), and a rise says that the policy has found the gap.

    *gated*, *missing*, *failed*: shares of a reward's completions, *gated* of those that it judged. A closed
    gate is normal at the beginning, so `gated_share` is near 1. Missing needs a rise as well: a reward may
    be silent by design on many samples, but a policy may also learn to write what it cannot judge, which
    costs nothing.

    *one_sided*: one reward makes `one_sided_share` of the total's variance within groups while another of at
    least its weight makes almost none and has a mean below the middle of its range.

    *held_out*: the mean of the last two evaluations is below the best two in succession by `held_out_fall`
    (in the figure's unit, shares mostly) and by three standard errors of a share of that many records, while
    the total has risen by `held_out_rise` since. `held_out_figures` are patterns of the figures that count;
    a `-` before one says that less is better.

    `off` names the kinds that are not wanted, `stop_on` those at which the run is to stop.
    """

    window: int = 20
    patience: int = 3
    sigmas: float = 4.0
    least_completions: int = 100
    least_groups: int = 16
    length_correlation: float = 0.3
    length_growth: float = 0.3
    list_correlation: float = 0.2
    list_growth: float = 0.5
    list_asked: int | None = None
    template_share: float = 0.6
    template_kappa: float = 0.1
    generic_share: float = 0.2
    generic_rise: float = 0.15
    differ_share: float = 0.25
    differ_rise: float = 0.1
    gated_share: float = 0.95
    missing_share: float = 0.3
    missing_rise: float = 0.2
    failed_share: float = 0.05
    one_sided_share: float = 0.95
    least_evaluations: int = 4
    held_out_fall: float = 0.02
    held_out_rise: float = 0.02
    held_out_figures: tuple[str, ...] = (
        "diagnosis_top1*",
        "diagnosis_top_k*",
        "caption_field_f1*",
        "top_k.strict@1*",
        "balanced.top1*",
    )
    off: tuple[str, ...] = ()
    stop_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `InputError` with all mistakes."""
        problems = list(self._problems())
        if problems:
            raise InputError(problems)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> AlarmSettings:
        """The settings of a recipe's `alarms:`. Raises `InputError` with all mistakes and nearest names."""
        hints = typing.get_type_hints(cls)
        problems = []
        if not isinstance(given, Mapping):
            raise InputError(Problem(f"found {given!r}; expected names with values", path=""))
        for name, value in given.items():
            if name not in hints:
                hint = nearest(str(name), hints)
                problems.append(Problem(f"there is no setting {name!r}", path=name, hint=hint))
            elif not fits(value, hints[name]):
                found = f"found {value!r}; expected {_WORDS[str(hints[name])]}"
                problems.append(Problem(found, path=name))
        if problems:
            raise InputError(problems)
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        return cls(**values)

    def wants(self, kind: str) -> bool:
        """Whether alarms of this kind are raised."""
        return kind not in self.off

    def _problems(self) -> Iterator[Problem]:
        for name in _SHARES:
            value = getattr(self, name)
            if not 0 < value <= 1:
                yield Problem(f"found {value!r}; expected more than 0 and at most 1", path=name)
        for name in _COUNTS:
            if getattr(self, name) < 1:
                yield Problem(f"found {getattr(self, name)!r}; expected 1 or more", path=name)
        for name in ("sigmas", "length_growth", "list_growth"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                yield Problem(f"found {value!r}; expected a number above 0", path=name)
        if self.list_asked is not None and self.list_asked < 1:
            yield Problem(f"found {self.list_asked!r}; expected 1 or more", path="list_asked")
        for name in ("off", "stop_on"):
            for kind in getattr(self, name):
                if kind not in KINDS:
                    message = f"there is no kind of alarm {kind!r}"
                    yield Problem(message, path=name, hint=nearest(str(kind), KINDS))
        for kind in self.stop_on:
            if kind in self.off:
                yield Problem(f"{kind!r} is off, so the run cannot stop at it", path="stop_on")


_WORDS = {
    str(int): "a whole number",
    str(float): "a number",
    str(int | None): "a whole number or null",
    str(tuple[str, ...]): "a list of names",
}

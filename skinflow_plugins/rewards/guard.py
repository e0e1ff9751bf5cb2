"""What a reward returned, checked value by value; and the error that says whose mistake it was.

ms-swift itself takes a short list for the whole batch and lets infinite values pass.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from skinflow_plugins.declare import NoVerdict, Reward, Score
from skinflow_plugins.errors import WorkFailed

TOLERANCE = 1e-6  # by which a value may leave [low, high]: float32 rounding of a mean or a weight


RESERVED_MARKS = frozenset({"mean", "std", "min", "max", "weight", "missing", "failed", "gated"})
"""Names of figures that the logs have of every reward: a mark of that name would be mixed into them."""


class RewardError(WorkFailed):
    """A reward raised, hung, or returned what its declaration does not allow; names reward and sample."""


@dataclass(frozen=True, slots=True)
class Missing:
    """No score: by the reward's own choice, or because it could not judge (`failed`); `why` says more."""

    why: str
    failed: bool = False


Outcome = Score | Missing


def checked(
    reward: Reward, answers: Sequence[str], columns: Mapping[str, Sequence[Any]], returned: Any
) -> list[Outcome]:
    """The outcome of every answer, from what the reward returned for the batch; `RewardError` otherwise."""
    sized = hasattr(returned, "__len__") and hasattr(returned, "__getitem__")
    if not sized or isinstance(returned, (str, bytes, Mapping)):
        raise RewardError(
            f"reward {reward.name!r} is batched and must return a list of {len(answers)} values, "
            f"found {type(returned).__name__}"
        )
    if len(returned) != len(answers):
        found = f"returned {len(returned)} values for {len(answers)} answers"
        raise RewardError(f"reward {reward.name!r} {found}")
    low, high = reward.low - TOLERANCE, reward.high + TOLERANCE
    outcomes: list[Outcome] = []
    for index, value in enumerate(returned):
        if value is None:
            outcomes.append(_BY_CHOICE)
            continue
        if isinstance(value, NoVerdict):
            outcomes.append(Missing(str(value) or "no verdict", failed=True))
            continue
        score = value if type(value) is Score else Score(value)
        number = score.value if type(score.value) is float else _number(score.value)
        if not low <= number <= high:  # also catches NaN
            limits = f"a finite number in [{reward.low:g}, {reward.high:g}], a Score or None"
            found = f"returned {_short(repr(score.value))}; expected {limits}"
            refuse(reward, answers, columns, index, found)
        if number is not score.value:
            score = dataclasses.replace(score, value=number)
        if score.marks:
            score = dataclasses.replace(score, marks=_marks(reward, answers, columns, index, score.marks))
        outcomes.append(score)
    return outcomes


_BY_CHOICE = Missing("the reward has no judgement on this answer")


def _marks(
    reward: Reward,
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    index: int,
    marks: Mapping[str, Any],
) -> dict[str, float]:
    """The marks as floats; a mark that is no finite number would spoil its mean."""
    found = {str(name): _number(mark) for name, mark in marks.items()}
    for name in RESERVED_MARKS.intersection(found):
        what = f"gave a mark the name {name!r}, which the logs use for a figure of their own; choose another"
        refuse(reward, answers, columns, index, what)
    for name, number in found.items():
        if not math.isfinite(number):
            what = f"gave the mark {name!r} = {_short(repr(marks[name]))}; expected a finite number"
            refuse(reward, answers, columns, index, what)
    return found


def _number(value: Any) -> float:
    """The value as a float; NaN for what is no single number. Text is none, even where it reads like one."""
    to_float: Callable[[], Any] | None = getattr(type(value), "__float__", None)
    if to_float is None or getattr(value, "ndim", 0) != 0:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def raised(
    reward: Reward,
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    index: int | None,
    error: BaseException,
) -> NoReturn:
    """The error for an exception in the reward: on one sample, or, without an index, on the batch."""
    what = f"raised {type(error).__name__}: {error}"
    if index is None:
        ids = columns.get("id") or ()
        some = ", ".join(map(str, itertools.islice(ids, 3))) + (", ..." if len(ids) > 3 else "")
        batch = f"a batch of {len(answers)}" + (f": {some}" if some else "")
        raise RewardError(f"reward {reward.name!r} {what}\n    on {batch}") from error
    refuse(reward, answers, columns, index, what, error)


def refuse(
    reward: Reward,
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    index: int,
    what: str,
    cause: BaseException | None = None,
) -> NoReturn:
    """The error that names the reward and the sample, and shows the beginning of the answer."""
    answer = answers[index] if index < len(answers) else ""
    text = f"reward {reward.name!r} on {who(columns, index)} {what}\n    answer: {_short(repr(answer))}"
    raise RewardError(text) from cause


def who(columns: Mapping[str, Sequence[Any]], index: int) -> str:
    """A sample by its id where the columns have one."""
    ids = columns.get("id")
    return f"sample {ids[index]}" if ids is not None and index < len(ids) else f"answer number {index + 1}"


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}... ({len(text)} characters)"

"""The one guarded way to call a reward: every value is checked, and every failure says whose it is.

ms-swift itself takes a short list for the whole batch and lets infinite values pass.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from skinflow_plugins.declare import Reward, Score
from skinflow_plugins.errors import WorkFailed

TOLERANCE = 1e-6  # by which a value may leave [low, high]: float32 rounding of a mean or a weight


class RewardError(WorkFailed):
    """A reward raised, or returned what its declaration does not allow; names the reward and the sample."""


def call_reward(
    reward: Reward,
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    options: Mapping[str, Any],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> list[Score | None]:
    """The checked score of every answer, None where the reward has no judgement.

    `columns` holds one value per answer in each column. Columns called like an option of the reward, or
    `answer`, do not reach it: the option wins. An async reward runs in `loop`, which may run in another
    thread, or in a loop of its own; inside a running loop, await `acall_reward` instead. Raises
    `RewardError` for a missing column, an exception in the reward, and a value that is no finite number
    within [low, high].
    """
    if not reward.is_async:
        return _checked(reward, answers, columns, _call(reward, answers, columns, options))
    work = acall_reward(reward, answers, columns, options)
    if loop is None:
        return asyncio.run(work)
    if loop.is_running():
        return asyncio.run_coroutine_threadsafe(work, loop).result()
    return loop.run_until_complete(work)


async def acall_reward(
    reward: Reward,
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    options: Mapping[str, Any],
) -> list[Score | None]:
    """`call_reward` for use inside a running loop; the calls of an async reward run concurrently."""
    if not reward.is_async:
        return _checked(reward, answers, columns, _call(reward, answers, columns, options))
    returned: Any
    if reward.batched:
        arguments = _batch(reward, answers, columns, options)
        with _Blame(reward, answers, columns) as blame:
            blame.index = None
            returned = await reward.function(list(answers), **arguments)
        return _checked(reward, answers, columns, returned)

    async def one(answer: str, row: dict[str, Any]) -> Any:
        return await reward.function(answer, **row)

    calls = [one(answer, row) for answer, row in _rows(reward, answers, columns, options)]
    returned = await asyncio.gather(*calls, return_exceptions=True)
    for index, value in enumerate(returned):
        if isinstance(value, BaseException):
            if not isinstance(value, Exception):
                raise value
            _raised(reward, answers, columns, index, value)
    return _checked(reward, answers, columns, returned)


def _call(
    reward: Reward, answers: Sequence[str], columns: Mapping[str, Sequence[Any]], options: Mapping[str, Any]
) -> Any:
    """What a plain reward returns for the batch, as it is."""
    with _Blame(reward, answers, columns) as blame:
        if reward.batched:
            arguments = _batch(reward, answers, columns, options)
            blame.index = None
            return reward.function(list(answers), **arguments)
        function, returned = reward.function, []
        for answer, row in _rows(reward, answers, columns, options):
            returned.append(function(answer, **row))
            blame.index += 1
        return returned


class _Blame:
    """Turns an exception of the reward function into a `RewardError` for the sample at `index`.

    `index` is None while a whole batch is scored at once.
    """

    index: Any = 0

    def __init__(self, reward: Reward, answers: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
        self.place = reward, answers, columns

    def __enter__(self) -> _Blame:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, RewardError):
            _raised(*self.place, self.index, error)


def _passed(
    reward: Reward, answers: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> Mapping[str, Sequence[Any]]:
    """The columns that reach the reward, after a check that they are all there."""
    count = len(answers)
    for name in reward.needs:
        if name not in columns:
            there = ", ".join(sorted(columns)) or "none"
            raise RewardError(f"reward {reward.name!r} needs the column {name!r}, which is missing ({there})")
        if any(value is None for value in columns[name]):
            index = next(i for i, value in enumerate(columns[name]) if value is None)
            who = _who(columns, index)
            raise RewardError(f"reward {reward.name!r} needs the column {name!r}, which {who} does not have")
    for name, values in columns.items():
        if len(values) != count:
            text = f"the column {name!r} has {len(values)} values for {count} answers"
            raise RewardError(f"reward {reward.name!r}: {text}")
    hidden = {option.name for option in reward.options} | {"answer"}
    return {name: values for name, values in columns.items() if name not in hidden}


def _batch(
    reward: Reward, answers: Sequence[str], columns: Mapping[str, Sequence[Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    passed = _passed(reward, answers, columns)
    return {**{name: list(values) for name, values in passed.items()}, **options}


def _rows(
    reward: Reward, answers: Sequence[str], columns: Mapping[str, Sequence[Any]], options: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    passed = _passed(reward, answers, columns)
    names = tuple(passed)
    rows = zip(*passed.values(), strict=True) if passed else itertools.repeat(())
    for answer, row in zip(answers, rows, strict=False):
        yield answer, {**dict(zip(names, row, strict=True)), **options}


def _checked(
    reward: Reward, answers: Sequence[str], columns: Mapping[str, Sequence[Any]], returned: Any
) -> list[Score | None]:
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
    scores: list[Score | None] = []
    for index, value in enumerate(returned):
        if value is None:
            scores.append(None)
            continue
        score = value if type(value) is Score else Score(value)
        number = score.value if type(score.value) is float else _number(score.value)
        if not low <= number <= high:  # also catches NaN
            limits = f"a finite number in [{reward.low:g}, {reward.high:g}], a Score or None"
            found = f"returned {_short(repr(score.value))}; expected {limits}"
            _refuse(reward, answers, columns, index, found)
        if number is not score.value:
            score = dataclasses.replace(score, value=number)
        scores.append(score)
    return scores


def _number(value: Any) -> float:
    """The value as a float; NaN for what is no single number. Text is none, even where it reads like one."""
    to_float: Callable[[], Any] | None = getattr(type(value), "__float__", None)
    if to_float is None or getattr(value, "ndim", 0) != 0:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _raised(
    reward: Reward,
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    index: int | None,
    error: Exception,
) -> NoReturn:
    what = f"raised {type(error).__name__}: {error}"
    if index is None:
        ids = columns.get("id") or ()
        who = ", ".join(map(str, itertools.islice(ids, 3))) + (", ..." if len(ids) > 3 else "")
        batch = f"a batch of {len(answers)}" + (f": {who}" if who else "")
        raise RewardError(f"reward {reward.name!r} {what}\n    on {batch}") from error
    _refuse(reward, answers, columns, index, what, error)


def _refuse(
    reward: Reward,
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    index: int,
    what: str,
    cause: Exception | None = None,
) -> NoReturn:
    answer = answers[index] if index < len(answers) else ""
    text = f"reward {reward.name!r} on {_who(columns, index)} {what}\n    answer: {_short(repr(answer))}"
    raise RewardError(text) from cause


def _who(columns: Mapping[str, Sequence[Any]], index: int) -> str:
    ids = columns.get("id")
    return f"sample {ids[index]}" if ids is not None and index < len(ids) else f"answer number {index + 1}"


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}... ({len(text)} characters)"

"""The one guarded way to call a reward: every value is checked, and every failure says whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any

from skinflow_plugins.declare import NoVerdict, Reward, Score
from skinflow_plugins.rewards import background
from skinflow_plugins.rewards.guard import Missing as Missing
from skinflow_plugins.rewards.guard import Outcome as Outcome
from skinflow_plugins.rewards.guard import RewardError as RewardError
from skinflow_plugins.rewards.guard import checked, raised, who

Columns = Mapping[str, Sequence[Any]]


def call_reward(
    reward: Reward,
    answers: Sequence[str],
    columns: Columns,
    options: Mapping[str, Any],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> list[Score | None]:
    """The checked score of every answer, None where there is none, by choice or by failure.

    `columns` holds one value per answer in each column. Columns called like an option of the reward, or
    `answer`, do not reach it: the option wins. What must be awaited is awaited in `loop`, which may run in
    another thread, or in the loop of the background; inside a running loop, await `acall_reward` instead.
    Raises `RewardError` for a missing column, an exception in the reward, and a value that is no finite
    number within [low, high].
    """
    if reward.is_async:
        return _scores(_wait(_awaited(reward, answers, columns, options), loop), reward, answers, columns)
    returned = _call(reward, answers, columns, options)
    if _waits(returned):
        returned = _wait(_resolved(reward, answers, columns, returned), loop)
    return _scores(returned, reward, answers, columns)


async def acall_reward(
    reward: Reward, answers: Sequence[str], columns: Columns, options: Mapping[str, Any]
) -> list[Score | None]:
    """`call_reward` for use inside a running loop; calls that wait run concurrently."""
    found = await outcomes(reward, answers, columns, options)
    return [each if isinstance(each, Score) else None for each in found]


async def outcomes(
    reward: Reward,
    answers: Sequence[str],
    columns: Columns,
    options: Mapping[str, Any],
    *,
    deadline: float | None = None,
    turn: asyncio.Lock | None = None,
) -> list[Outcome]:
    """The checked outcome of every answer: a score, or why there is none.

    The batch may take `deadline` seconds, by default those of the reward; a reward that takes longer raises
    `RewardError`, and nothing waits for it any more. Plain functions run in one thread; those that share the
    lock `turn` do so one after the other, and waiting for it costs none of the deadline.
    """
    limit = reward.deadline if deadline is None else deadline
    try:
        if reward.is_async:
            async with asyncio.timeout(limit):
                returned = await _awaited(reward, answers, columns, options)
        else:
            async with turn or contextlib.nullcontext(), asyncio.timeout(limit):
                returned = await background.in_worker(lambda: _call(reward, answers, columns, options))
            if _waits(returned):
                async with asyncio.timeout(limit):
                    returned = await _resolved(reward, answers, columns, returned)
    except TimeoutError:
        some = who(columns, 0) if answers else "no answer"
        raise RewardError(
            f"reward {reward.name!r} took more than {limit:g} s for a batch of {len(answers)}, from {some} "
            "on; it hangs, or its `deadline` is too short"
        ) from None
    return checked(reward, answers, columns, returned)


def _scores(returned: Any, reward: Reward, answers: Sequence[str], columns: Columns) -> list[Score | None]:
    found = checked(reward, answers, columns, returned)
    return [each if isinstance(each, Score) else None for each in found]


def _wait(work: Any, loop: asyncio.AbstractEventLoop | None) -> Any:
    if loop is None:
        return background.run(work)
    if loop.is_running():
        return asyncio.run_coroutine_threadsafe(work, loop).result()
    return loop.run_until_complete(work)


async def _awaited(
    reward: Reward, answers: Sequence[str], columns: Columns, options: Mapping[str, Any]
) -> Any:
    """What an async reward returns for the batch; the calls of one that is not batched run concurrently."""
    if reward.batched:
        arguments = _batch(reward, answers, columns, options)
        with _Blame(reward, answers, columns) as blame:
            blame.index = None
            try:
                return await reward.function(list(answers), **arguments)
            except NoVerdict as error:
                return [error] * len(answers)
    calls = [reward.function(answer, **row) for answer, row in _rows(reward, answers, columns, options)]
    return await _resolved(reward, answers, columns, calls)


async def _resolved(reward: Reward, answers: Sequence[str], columns: Columns, returned: Any) -> Any:
    """The batch with everything awaited; an exception is blamed on its sample, `NoVerdict` stays a value."""
    if inspect.isawaitable(returned):  # a plain batched reward that returned one awaitable for all
        with _Blame(reward, answers, columns) as blame:
            blame.index = None
            try:
                return await returned
            except NoVerdict as error:
                return [error] * len(answers)
    waiting = [index for index, value in enumerate(returned) if inspect.isawaitable(value)]
    found = await asyncio.gather(*(_kept(returned[index]) for index in waiting), return_exceptions=True)
    values = list(returned)
    for index, value in zip(waiting, found, strict=True):
        if isinstance(value, BaseException) and not isinstance(value, NoVerdict):
            if not isinstance(value, _BLAMED):
                raise value
            raised(reward, answers, columns, index, value)
        values[index] = value
    return values


_BLAMED = (Exception, SystemExit)
"""What a reward is blamed for raising. `sys.exit` would end the thread that everybody waits for."""


async def _kept(waiting: Awaitable[Any]) -> Any:
    """What is awaited; `SystemExit` as a value, since asyncio lets it through a task and out of the loop."""
    try:
        return await waiting
    except SystemExit as error:
        return error


def _waits(returned: Any) -> bool:
    if isinstance(returned, list):
        return any(map(inspect.isawaitable, returned))
    return inspect.isawaitable(returned)


def _call(reward: Reward, answers: Sequence[str], columns: Columns, options: Mapping[str, Any]) -> Any:
    """What a plain reward returns for the batch, as it is."""
    with _Blame(reward, answers, columns) as blame:
        if reward.batched:
            arguments = _batch(reward, answers, columns, options)
            blame.index = None
            try:
                return reward.function(list(answers), **arguments)
            except NoVerdict as error:
                return [error] * len(answers)
        function, returned = reward.function, []
        for answer, row in _rows(reward, answers, columns, options):
            try:
                returned.append(function(answer, **row))
            except NoVerdict as error:
                returned.append(error)
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
        if isinstance(error, _BLAMED) and not isinstance(error, RewardError):
            raised(*self.place, self.index, error)


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
            found = who(columns, index)
            raise RewardError(
                f"reward {reward.name!r} needs the column {name!r}, which {found} does not have"
            )
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

"""Asking a judge: equal calls once, kept answers first, and never longer than the deadline.

A question passes the cache of answers, then the equal call that is under way, if there is one, and then what
stands before a call of its own (see `caller`). Whatever it waits for, its deadline counts from when it was
put.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.judging.breaker import Breaker
from skinflow_plugins.judging.cache import Cache, cache_at
from skinflow_plugins.judging.cache_key import answer_key
from skinflow_plugins.judging.cache_path import cache_path
from skinflow_plugins.judging.caller import Caller, failed
from skinflow_plugins.judging.client import Answer, Failure
from skinflow_plugins.judging.from_mapping import judge_from
from skinflow_plugins.judging.ledger import Ledger
from skinflow_plugins.judging.question import Question

if TYPE_CHECKING:
    from skinflow_plugins.judging.settings import Judge
    from skinflow_plugins.judging.usage import Usage

T = TypeVar("T")

_GRACE = 0.25
"""Seconds by which a call may outlive its deadline before it is given up: it says better what happened."""
_READY = Question(
    [{"role": "user", "content": 'Answer with the JSON object {"ready": true}.'}],
    {
        "type": "object",
        "properties": {"ready": {"type": "boolean"}},
        "required": ["ready"],
        "additionalProperties": False,
    },
    "ready",
    str,
    16,
)


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """What came of a question: `value` is what it reads out of the answer, None where that is a failure.

    `free` says that no call was made for it: the answer was kept, or belongs to an equal call.
    """

    answer: Answer
    value: T | None
    free: bool


class _Flight:
    """A call under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.task, self.waiting = task, 0


class JudgeService:
    """Puts questions to one judge, in one event loop.

    Use it as an asynchronous context manager, or get the one of the running loop from `service_of`. Without a
    `breaker` every question is put, however often the judge has failed.
    """

    def __init__(self, judge: Judge, *, breaker: Breaker | None = None, ledger: Ledger | None = None) -> None:
        self.judge = judge
        self._ledger = ledger or Ledger(judge)
        path = cache_path(judge.cache)
        self._cache: Cache | None = cache_at(path) if path is not None else None
        left_out = self._cache.unknown(judge.endpoint, judge.model) if self._cache is not None else ()
        self._caller = Caller(judge, self._ledger, breaker, left_out, self._learned)
        self._flights: dict[bytes, _Flight] = {}
        self._guard: AsyncGenerator[None, None] | None = None

    async def __aenter__(self) -> JudgeService:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, once all answers are in the cache's file."""
        if self._cache is not None:
            await asyncio.to_thread(self._cache.flush)
        await self._caller.close()

    @property
    def cache_file(self) -> Path | None:
        """The file of kept answers, None where none are kept."""
        return self._cache.path if self._cache is not None else None

    @property
    def left_out(self) -> tuple[str, ...]:
        """The options of a request that this server does not take."""
        return self._caller.left_out

    def usage(self) -> Usage:
        """What the judge was used for so far in this process."""
        return self._ledger.account.usage()

    def account_to(self, folder: Path, name: str) -> None:
        """Append failures to `judge_failures.jsonl` in this folder from now on, under this name."""
        self._ledger.write_to(folder, name)

    async def reply(self, question: Question[T], *, run: int = 0, until: float | None = None) -> Reply[T]:
        """The judge's reply in one run of a question, or the failure; `until` is a time of the event loop.

        Only readable answers are kept. One that is kept and that `question.read` cannot read any more is
        asked for again.
        """
        judge = self.judge
        if until is None:
            until = asyncio.get_running_loop().time() + judge.deadline
        while True:
            key = self._key(question, run, self._caller.left_out)
            kept = self._cache.get(key) if self._cache is not None else None
            if kept is not None:
                reply = self._read(question, Answer(kept.text), free=True)
                if reply.answer.failure is None:
                    self._ledger.account.hit()
                    return reply
            flight = self._flights.get(key)
            joined = flight is not None
            if flight is None:
                flight = self._begin(key, question, run, until)
            answer = await self._outcome(key, flight, until)
            left = until - asyncio.get_running_loop().time()
            if joined and answer.failure is not None and answer.failure.kind == "timeout" and left > 0:
                continue  # the time of whoever put it is up, and ours is not
            if answer.failure is not None:
                return Reply(answer, None, joined)
            if joined:
                self._ledger.account.hit()
            return self._read(question, answer, free=joined)

    async def reach(self) -> None:
        """Make one small call; `WorkFailed` with the reason when the judge cannot be asked."""
        judge = self.judge
        failure = (await self._caller.try_out(_READY)).failure
        # Whoever refuses or says something odd can be asked.
        if failure is not None and failure.kind in ("transport", "timeout"):
            self._ledger.failed(failure, question="ready", seed=judge.seed, messages=_READY.messages)
            reason = f"{failure.kind}: {failure.detail}"
            raise WorkFailed(f"the judge {judge.model} at {judge.endpoint} cannot be asked: {reason}")

    def _learned(self) -> None:
        if self._cache is not None:
            self._cache.learned(self.judge.endpoint, self.judge.model, self._caller.left_out)

    def _key(self, question: Question[Any], run: int, left_out: tuple[str, ...]) -> bytes:
        judge = self.judge
        return answer_key(
            judge,
            question.messages,
            schema=question.schema,
            name=question.name,
            seed=judge.seed + run,
            max_tokens=question.max_tokens or judge.max_tokens,
            left_out=left_out,
        )

    def _begin(self, key: bytes, question: Question[Any], run: int, until: float) -> _Flight:
        flight = _Flight(asyncio.create_task(self._fly(question, run, until)))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda _: self._land(key, flight))
        return flight

    def _land(self, key: bytes, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _outcome(self, key: bytes, flight: _Flight, until: float) -> Answer:
        """Wait for a call; it is given up when nobody waits for it any more."""
        flight.waiting += 1
        try:
            async with asyncio.timeout_at(until + _GRACE):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            return failed("timeout", "no answer within the deadline")
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._land(key, flight)  # nobody is to join a call that is given up
                flight.task.cancel()

    async def _fly(self, question: Question[Any], run: int, until: float) -> Answer:
        """The answer of a call, kept and counted."""
        answer = await self._caller.call(question, run, until)
        if answer.failure is None:
            answer = self._read(question, answer, free=False).answer
        if answer.failure is None:
            if self._cache is not None:
                self._cache.put(
                    self._key(question, run, answer.left_out),
                    answer.text,
                    model=self.judge.model,
                    prompt=question.name,
                    prompt_tokens=answer.prompt_tokens,
                    completion_tokens=answer.completion_tokens,
                )
        else:
            details = {"question": question.name, "messages": question.messages}
            self._ledger.failed(answer.failure, seed=self.judge.seed + run, reply=answer.text, **details)
        return answer

    def _read(self, question: Question[T], answer: Answer, *, free: bool) -> Reply[T]:
        try:
            return Reply(answer, question.read(answer.text), free)
        except ValueError as error:
            detail = str(error)
        except Exception as error:
            # Replies of any shape come, and a reader may stumble over one; should it stumble over all, then
            # the share of failures ends the work and this is what the user reads.
            detail = f"{type(error).__name__}: {error}"
        detail = " ".join(detail.split())[:300]
        return Reply(replace(answer, failure=Failure("unparsable", detail)), None, free)

    async def close_with_loop(self) -> None:
        """Have the service closed when the loop shuts down, as `asyncio.run` does at its end."""
        if self._guard is None:
            self._guard = self._closing()
            await anext(self._guard)

    async def _closing(self) -> AsyncGenerator[None, None]:
        # Loops close the generators that were begun in them.
        try:
            yield
        finally:
            await self.close()


_services: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Judge, JudgeService]] = (
    weakref.WeakKeyDictionary()
)
_ledgers: dict[Judge, Ledger] = {}
_registering = threading.Lock()


def service_of(
    judge: Judge | Mapping[str, Any], *, loop: asyncio.AbstractEventLoop | None = None
) -> JudgeService:
    """The service of a judge in the running event loop, or in `loop`; there is one for each.

    Raises `InputError` for wrong settings, and for a cache that belongs to another program or version.
    """
    judge = judge_from(judge)
    loop = loop or asyncio.get_running_loop()
    with _registering:
        services = _services.get(loop)
        if services is None:
            for other in [each for each in _services if each.is_closed()]:
                del _services[other]
            services = _services[loop] = {}
        if judge not in services:
            services[judge] = JudgeService(judge, breaker=Breaker(), ledger=_ledger_of(judge))
        return services[judge]


def usage_of(judge: Judge | Mapping[str, Any]) -> Usage:
    """What a judge was used for so far in this process, in all its event loops; from any thread."""
    return _ledger_of(judge_from(judge)).account.usage()


def account_to(judge: Judge | Mapping[str, Any], folder: Path, name: str) -> None:
    """Append a judge's failures to `judge_failures.jsonl` in a folder, under a name; from any thread."""
    _ledger_of(judge_from(judge)).write_to(folder, name)


async def reach(judge: Judge | Mapping[str, Any]) -> None:
    """Make one small call to a judge, at the start of a run; `WorkFailed` with the reason when it fails."""
    service = service_of(judge)
    await service.close_with_loop()
    await service.reach()


def _ledger_of(judge: Judge) -> Ledger:
    return _ledgers.setdefault(judge, Ledger(judge))

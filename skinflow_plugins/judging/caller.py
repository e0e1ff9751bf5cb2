"""One call to a judge, from waiting for leave to its answer, within a deadline.

First the circuit breaker, then a place among the `concurrency` calls and under the limits per minute, then
the client with its retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from skinflow_plugins.judging.breaker import Breaker, Open, Ticket
from skinflow_plugins.judging.client import Answer, Client, Failure
from skinflow_plugins.judging.limits import Limits

if TYPE_CHECKING:
    from skinflow_plugins.judging.ledger import Ledger
    from skinflow_plugins.judging.question import Question
    from skinflow_plugins.judging.settings import Judge

_LEAST = 0.01
"""Seconds for which it is not worth making a call."""
_TOLD_FROM = 0.5
"""Seconds of waiting that are worth a word in the text of a timeout."""


class Caller:
    """Makes the calls to one judge, in one event loop.

    `left_out` are options that the server is known not to take; `learned` is called when they become others.
    """

    def __init__(
        self,
        judge: Judge,
        ledger: Ledger,
        breaker: Breaker | None,
        left_out: Sequence[str],
        learned: Callable[[], object],
    ) -> None:
        self._judge, self._ledger, self._breaker = judge, ledger, breaker
        self.left_out, self._learned = tuple(left_out), learned
        self._limits = Limits(judge.requests_per_minute, judge.tokens_per_minute)
        self._slots = asyncio.Semaphore(judge.concurrency)
        self._client: Client | None = None
        self._making: asyncio.Future[Client] | None = None

    async def ready(self) -> Client:
        """The client; importing what it needs takes a second, and must not stop the loop."""
        if self._client is None:
            if self._making is None:
                made = asyncio.to_thread(Client, self._judge, self.left_out, self._limits.retried)
                self._making = asyncio.ensure_future(made)
            self._client = await asyncio.shield(self._making)
        return self._client

    @property
    def connected(self) -> bool:
        """Whether there is a client with connections."""
        return self._client is not None

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._client is not None:
            client, self._client, self._making = self._client, None, None
            await client.close()

    async def call(self, question: Question[Any], run: int, until: float) -> Answer:
        """Wait for leave and make the call; `until` is a time of the event loop."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            if self._breaker is not None:
                self._breaker.check()
            async with asyncio.timeout_at(until):
                client = await self.ready()
                await self._slots.acquire()
        except Open as error:
            return failed("open", str(error))
        except TimeoutError:
            return self._no_place()
        try:
            if until - loop.time() < _LEAST:
                return self._no_place()
            with await self._admitted(until) as ticket:
                limit = question.max_tokens or self._judge.max_tokens
                tokens = self._limits.estimate(question.messages, limit) if self._limits.any else 0.0
                if not await self._place(tokens, until):
                    return failed("timeout", "the limits per minute leave no place within the deadline")
                waited = loop.time() - began
                within = max(_LEAST, until - loop.time())
                if ticket.probe:  # others wait for it
                    within = min(within, self._judge.timeout)
                self._ledger.account.called()
                answer = await client.ask(
                    question.messages,
                    schema=question.schema,
                    seed=self._judge.seed + run,
                    name=question.name,
                    max_tokens=limit,
                    retries=0 if ticket.probe else None,
                    within=within,
                )
                self._take(client, answer)
                self._limits.spent(tokens, answer.prompt_tokens, answer.completion_tokens)
                if ticket.settle(answer.failure) and self._breaker is not None:
                    self._ledger.opened(self._breaker.reason)
                return _with_wait(answer, waited)
        except Open as error:
            return failed("open", str(error))
        except TimeoutError:
            return failed("open", "the judge is being tried again, and gave no sign within the deadline")
        finally:
            self._slots.release()

    async def try_out(self, question: Question[Any]) -> Answer:
        """Make a call at once, whatever the breaker says; an answer of any kind closes it."""
        client = await self.ready()
        self._ledger.account.called()
        answer = await client.ask(
            question.messages,
            schema=question.schema,
            seed=self._judge.seed,
            name=question.name,
            max_tokens=question.max_tokens,
        )
        self._take(client, answer)
        if answer.failure is None or not answer.failure.outage:
            Ticket(self._breaker).settle(None)
        return answer

    def _no_place(self) -> Answer:
        return failed("timeout", f"no place among {self._judge.concurrency} calls within the deadline")

    async def _admitted(self, until: float) -> Ticket:
        if self._breaker is None:
            return Ticket(None)
        async with asyncio.timeout_at(until):
            return await self._breaker.admit()

    async def _place(self, tokens: float, until: float) -> bool:
        """Wait for a place under the limits; False, at once, when it comes after the deadline."""
        if not self._limits.any:
            return True
        wait = self._limits.reserve(tokens)
        if wait > until - asyncio.get_running_loop().time():
            self._limits.cancel(tokens)
            return False
        try:
            if wait > 0:
                await asyncio.sleep(wait)
        except BaseException:
            self._limits.cancel(tokens)
            raise
        return True

    def _take(self, client: Client, answer: Answer) -> None:
        """Note what a call took, and what the server turned out not to take."""
        self._ledger.account.spent(answer)
        if client.unknown_options != self.left_out:
            self.left_out = client.unknown_options
            self._learned()


def failed(kind: Any, detail: str) -> Answer:
    """The answer to a call that was not made, or not waited for."""
    return Answer(failure=Failure(kind, detail))


def _with_wait(answer: Answer, waited: float) -> Answer:
    failure = answer.failure
    if failure is None or failure.kind != "timeout" or waited < _TOLD_FROM:
        return answer
    detail = f"{failure.detail}, after {waited:.1f} s of waiting for a place"
    return replace(answer, failure=replace(failure, detail=detail))

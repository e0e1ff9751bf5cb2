"""The circuit breaker: a judge that is out of order is left alone, and tried again with one call at a time.

It opens after a run of failures that speak of the server (no connection, no answer in time, 429, 5xx), or at
once when the server refuses key, address or model. While it is open every question fails at once. After a
time off, which doubles from one failed attempt to the next, one question goes out as a probe while the others
wait for what becomes of it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from skinflow_plugins.judging.client import Failure

OPENS_AFTER = 16
"""So many failures in a row: at 1 in 3 lost calls that is once in 40 million."""
COOL_OFF = 2.0
LONGEST_COOL_OFF = 30.0


class Open(Exception):
    """The question was not put; the text says why the breaker is open."""


class Breaker:
    """For one event loop. Enter it with `admit` before a call, and settle the ticket with what came of it."""

    def __init__(
        self,
        opens_after: int = OPENS_AFTER,
        cool_off: float = COOL_OFF,
        longest: float = LONGEST_COOL_OFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opens_after, self._first, self._longest, self._clock = opens_after, cool_off, longest, clock
        self._run = 0
        self._reason = ""
        self._off = cool_off
        self._retry_at = 0.0
        self._probe: asyncio.Future[None] | None = None

    @property
    def reason(self) -> str:
        """Why it is open; "" when it is closed."""
        return self._reason

    def check(self) -> None:
        """Raise `Open` when a call would fail at once, without a word to the server."""
        if self._reason and self._probe is None and (left := self._retry_at - self._clock()) > 0:
            raise Open(f"{self._reason}; tried again in {left:.1f} s")

    async def admit(self) -> Ticket:
        """Leave to make a call; raises `Open`. Waits while a probe is under way: bound it by a timeout."""
        while True:
            self.check()
            if not self._reason:
                return Ticket(self)
            if self._probe is None:
                self._probe = asyncio.get_running_loop().create_future()
                return Ticket(self, self._probe)
            await asyncio.shield(self._probe)

    def _settle(self, failure: Failure | None, *, probe: bool) -> bool:
        """Take note of an outcome; True when this opened the breaker."""
        if failure is None or not failure.outage:
            self._run, self._reason, self._off = 0, "", self._first
            self._release(self._probe)  # an older call can succeed before the probe does
            return False
        self._run += 1
        if self._reason:
            # Of the calls that were under way when it opened, only the probe says something new.
            if probe:
                self._off = min(self._longest, 2 * self._off)
                self._open(failure)
            return False
        if failure.hopeless or self._run >= self._opens_after:
            self._open(failure)
            return True
        return False

    def _open(self, failure: Failure) -> None:
        many = f"{self._run} failures in a row" if self._run > 1 else "a failure that all calls would share"
        self._reason = f"the judge is left alone after {many}; the last: {failure.kind}: {failure.detail}"
        self._retry_at = self._clock() + self._off

    def _release(self, probe: asyncio.Future[None] | None) -> None:
        """Let those go on who wait for this probe."""
        if probe is not None and not probe.done():
            probe.set_result(None)
        if probe is self._probe:
            self._probe = None


class Ticket:
    """Leave to make one call; without a breaker it is a formality.

    A probe that ends without `settle` makes room for another.
    """

    def __init__(self, breaker: Breaker | None, probe: asyncio.Future[None] | None = None) -> None:
        self._breaker, self._probe = breaker, probe

    @property
    def probe(self) -> bool:
        """Whether this call is the probe."""
        return self._probe is not None

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._breaker is not None and self._probe is not None:
            self._breaker._release(self._probe)

    def settle(self, failure: Failure | None) -> bool:
        """Say what came of the call; True when this failure opened the breaker."""
        return self._breaker is not None and self._breaker._settle(failure, probe=self.probe)

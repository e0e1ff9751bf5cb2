"""How fast a judge may be asked: so many requests and so many tokens in any minute.

Each bucket holds a twentieth of a minute's allowance and refills at what is left of it, so that no window of
a minute sees more than the allowance. Places are given out in the order of asking: `reserve` takes at once
and says how long to wait, so nobody has to be woken up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Clock = Callable[[], float]

_BURST = 20
_MINUTE = 60.0
_CHARACTERS_PER_TOKEN = 4
_IMAGE_TOKENS = 1000
"""A guess, until the server has counted: providers take a few hundred to a few thousand for an image."""
_FIRST_REPLY = 256
_MEMORY = 0.05
"""The weight of the newest reply in the mean length of replies."""


class Bucket:
    """`per_minute` units in any minute; a single cost above the burst passes when the bucket is full."""

    def __init__(self, per_minute: float, clock: Clock = time.monotonic) -> None:
        self._burst = max(1.0, per_minute / _BURST)
        # One unit of the burst is what each window starts with and has waited for.
        self._rate = (per_minute - (self._burst - 1.0)) / _MINUTE
        self._level, self._clock, self._last = self._burst, clock, clock()

    def reserve(self, cost: float) -> float:
        """Take `cost` and give back the seconds to wait before it may be spent."""
        self._refill()
        wait = max(0.0, (min(cost, self._burst) - self._level) / self._rate)
        self._level -= cost
        return wait

    def settle(self, more: float) -> None:
        """Take `more` without waiting, or with a negative number give back; later callers wait for it."""
        self._refill()
        self._level = min(self._burst, self._level - more)

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._last) * self._rate)
        self._last = now


class Limits:
    """Requests and tokens per minute, each None for no limit."""

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._requests = Bucket(requests_per_minute, clock) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, clock) if tokens_per_minute else None
        self._reply = float(_FIRST_REPLY)

    @property
    def any(self) -> bool:
        """Whether anything is limited."""
        return self._requests is not None or self._tokens is not None

    def estimate(self, messages: Sequence[Mapping[str, Any]], max_tokens: int) -> float:
        """About how many tokens a call will take, before the server has counted them."""
        return sum(_size(message.get("content")) for message in messages) + min(self._reply, max_tokens)

    def reserve(self, tokens: float) -> float:
        """Take one request and so many tokens, and give back the seconds to wait before the call."""
        waits = [0.0]
        if self._requests is not None:
            waits.append(self._requests.reserve(1))
        if self._tokens is not None:
            waits.append(self._tokens.reserve(tokens))
        return max(waits)

    def cancel(self, tokens: float) -> None:
        """Give back what was reserved for a call that was not made."""
        self.retried(-1)
        self._settle_tokens(-tokens)

    def retried(self, requests: int = 1) -> None:
        """Count attempts beyond the first; they were not waited for, so that others wait for them."""
        if self._requests is not None:
            self._requests.settle(requests)

    def spent(self, estimated: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Correct an estimate by what the server counted; where it counts nothing, the estimate stands."""
        if completion_tokens:
            self._reply += _MEMORY * (completion_tokens - self._reply)
        if prompt_tokens or completion_tokens:
            self._settle_tokens(prompt_tokens + completion_tokens - estimated)

    def _settle_tokens(self, more: float) -> None:
        if self._tokens is not None:
            self._tokens.settle(more)


def _size(content: object) -> float:
    if isinstance(content, str):
        return len(content) / _CHARACTERS_PER_TOKEN
    if not isinstance(content, Sequence):
        return 0.0
    parts = [part for part in content if isinstance(part, Mapping)]
    return sum(_size(part["text"]) if "text" in part else _IMAGE_TOKENS for part in parts)

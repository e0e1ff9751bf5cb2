"""What a judge was used for: calls, tokens, cost and failures, as a snapshot that can be subtracted."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skinflow_plugins.judging.client import Answer
    from skinflow_plugins.judging.settings import Judge


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of one process.

    `calls` are questions that were put to the server, each counted once; `retries` are the attempts beyond
    the first of each. `hits` are answers that cost nothing: kept ones, and those shared with an equal call
    that was under way. Tokens are as the server counted them; `cost` is 0 where no price is known.
    `failures` holds the calls that gave nothing by kind, and under `open` the questions that were not put
    because the judge is out of order.
    """

    calls: int = 0
    hits: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)

    def __sub__(self, earlier: Usage) -> Usage:
        """What was used since an earlier snapshot."""
        return self._joined(earlier, -1)

    def __add__(self, other: Usage) -> Usage:
        return self._joined(other, 1)

    def _joined(self, other: Usage, sign: int) -> Usage:
        kinds = dict.fromkeys([*self.failures, *other.failures])
        failures = {kind: self.failures.get(kind, 0) + sign * other.failures.get(kind, 0) for kind in kinds}
        return Usage(
            self.calls + sign * other.calls,
            self.hits + sign * other.hits,
            self.retries + sign * other.retries,
            self.prompt_tokens + sign * other.prompt_tokens,
            self.completion_tokens + sign * other.completion_tokens,
            self.cost + sign * other.cost,
            {kind: count for kind, count in failures.items() if count},
        )

    @property
    def failed(self) -> int:
        """All failures."""
        return sum(self.failures.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a line of `judge_usage.jsonl`."""
        return {
            "calls": self.calls,
            "hits": self.hits,
            "retries": self.retries,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": round(self.cost, 9),
            "failures": dict(self.failures),
        }


class Account:
    """Counts what one judge is used for; safe to read from any thread."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._lock = threading.Lock()
        self._calls = self._hits = self._retries = self._prompt = self._completion = 0
        self._failures: Counter[str] = Counter()

    def called(self) -> None:
        """Count a call that is put to the server."""
        with self._lock:
            self._calls += 1

    def spent(self, answer: Answer) -> None:
        """Count what a call took, whatever came of it."""
        with self._lock:
            self._retries += answer.retries
            self._prompt += answer.prompt_tokens
            self._completion += answer.completion_tokens

    def hit(self) -> None:
        """Count an answer that cost nothing."""
        with self._lock:
            self._hits += 1

    def failed(self, kind: str) -> None:
        """Count a failure."""
        with self._lock:
            self._failures[kind] += 1

    def usage(self) -> Usage:
        """The counts at this moment."""
        with self._lock:
            return Usage(
                self._calls,
                self._hits,
                self._retries,
                self._prompt,
                self._completion,
                self._judge.cost(self._prompt, self._completion),
                dict(self._failures),
            )

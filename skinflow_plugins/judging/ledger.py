"""The account of one judge in one process: what it was used for, and where its failures are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.judging.client import Failure
from skinflow_plugins.judging.failures import FailureLog
from skinflow_plugins.judging.usage import Account

if TYPE_CHECKING:
    from skinflow_plugins.judging.settings import Judge


class Ledger:
    """Counts, and writes failures once it knows where to."""

    def __init__(self, judge: Judge) -> None:
        self.account = Account(judge)
        self._log: FailureLog | None = None

    def write_to(self, folder: Path, name: str) -> None:
        """Append failures to `judge_failures.jsonl` in this folder from now on, under this name."""
        self._log = FailureLog(folder, name)

    def failed(self, failure: Failure, **details: Any) -> None:
        """Count a failure, and write it when it is one of a call."""
        self.account.failed(failure.kind)
        if self._log is not None and failure.kind != "open":
            self._log.write(failure, **details)

    def opened(self, reason: str) -> None:
        """Write that the breaker opened."""
        if self._log is not None:
            self._log.write(Failure("open", reason))

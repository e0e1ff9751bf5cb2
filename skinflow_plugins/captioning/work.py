"""All rows through the gate: several at a time, each try in the journal before the next begins."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from skinflow_plugins.captioning.asking import Asker
from skinflow_plugins.captioning.gate import Gate
from skinflow_plugins.captioning.journal import Journal
from skinflow_plugins.captioning.rows import Row
from skinflow_plugins.captioning.tries import History, Try
from skinflow_plugins.errors import WorkFailed

ALL_FAILED = 32
"""So many rows without one verdict end the work, however many still wait."""
DOWN = ("transport", "timeout", "open")
"""Failures that say something of the server, and not of the row."""

Say = Callable[[str], object]


@dataclass(slots=True)
class Work:
    """The rows that are still to be asked, and all that is needed for it. `pasts` grows with every try."""

    gate: Gate
    captioner: Asker
    judge: Asker
    journal: Journal
    pasts: dict[str, History]
    run: int
    concurrency: int = 16
    failure_share: float = 0.2
    say: Say = lambda text: None
    finished: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)

    def todo(self, rows: Sequence[Row], limit: int | None = None) -> list[Row]:
        """Up to `limit` rows without an end: those that wait, then those that failed before."""
        status = {row.id: self._status(row) for row in rows}
        waiting = [row for row in rows if status[row.id] == "waiting"]
        waiting += [row for row in rows if status[row.id] == "failed"]
        return waiting[:limit]

    def _status(self, row: Row) -> str:
        history = self.pasts.get(row.id)
        return history.status(self.gate.tries) if history else "waiting"

    async def ask_all(self, rows: Sequence[Row]) -> None:
        """Ask until every row is accepted, out of tries, or failed.

        The first row goes alone: a server that is down, or a wrong key or model, costs its calls alone.
        Raises `WorkFailed` when that row finds a server down, when none of the first rows gets a verdict, and
        as soon as more than `failure_share` of the rows have failed.
        """
        queue = iter(rows)
        try:
            await self._some(itertools.islice(queue, 1), rows)
            workers = [
                asyncio.create_task(self._some(queue, rows)) for _ in range(min(self.concurrency, len(rows)))
            ]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        finally:
            self.note_usage()
            await self.captioner.close()
            await self.judge.close()

    async def _some(self, queue: Iterator[Row], rows: Sequence[Row]) -> None:
        for row in queue:  # one iterator for all workers: whoever is free takes the next row
            await self._one(row)
            self._finish(row, len(rows))

    async def _one(self, row: Row) -> None:
        history = self.pasts.setdefault(row.id, History(row.sha256, row.diagnosis))
        while True:
            attempt = await self.gate.next_try(row, history, self.captioner, self.judge)
            self._note(row, history, attempt)
            if attempt.outcome in ("accepted", "failed") or len(history.tries) >= self.gate.tries:
                return

    def _note(self, row: Row, history: History, attempt: Try) -> None:
        facts = {"run": self.run, "id": row.id, "image_sha256": row.sha256, "diagnosis": row.diagnosis}
        self.journal.add("try", facts | attempt.as_event())
        history.attempts.append(attempt)

    def _finish(self, row: Row, planned: int) -> None:
        history = self.pasts[row.id]
        self.finished += 1
        self.note_usage()
        status = history.status(self.gate.tries)
        self.accepted += status == "accepted"
        if status == "failed":
            self.failed += 1
            self._stop_if_hopeless(history.attempts[-1], planned)
        if self.finished * 10 // planned > (self.finished - 1) * 10 // planned and self.finished < planned:
            self.journal.keep()
            self.say(
                f"{self.finished} of {planned} rows: {self.accepted} accepted, "
                f"{self.finished - self.accepted - self.failed} for review, {self.failed} failed"
            )

    def _stop_if_hopeless(self, attempt: Try, planned: int) -> None:
        failure = attempt.failure
        assert failure is not None
        last = f"the {failure.asked}: {failure.kind}: {failure.detail}"
        if self.finished == 1 and failure.kind in DOWN:
            raise WorkFailed(f"the {failure.asked} cannot be asked: {failure.detail}")
        if self.failed == self.finished == ALL_FAILED:
            raise WorkFailed(f"none of the first {ALL_FAILED} rows got a verdict; the last: {last}")
        if self.failed > self.failure_share * planned and self.failed > 1:
            raise WorkFailed(
                f"{self.failed} of {self.finished} rows got no verdict; of the {planned} to be asked "
                f"{self.failure_share:.0%} may fail; the last: {last}"
            )

    def note_usage(self) -> None:
        """Note the sums of this run so far."""
        facts = {"captioner": self.captioner.usage(), "judge": self.judge.usage()}
        self.journal.add("usage", {"run": self.run, **facts})

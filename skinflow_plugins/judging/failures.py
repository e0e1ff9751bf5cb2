"""Failed calls: counted by kind, written to a file at once, and the point at which they end the work."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.judging.client import KINDS, Failure

ALL_FAILED = 32
"""So many calls without one success end the work, however many are still planned."""
_LONGEST_REPLY = 4000


class Failures:
    """Keeps count of `planned` calls, of which the share `most` may fail; `file` gets one JSON line for each.

    A line: `{"kind", "detail", "run", "ids", "truth", "items", "reply"}`; `ids` are all records that ask this
    question. The file is emptied at the start, so that it always speaks of one run alone.
    """

    def __init__(self, planned: int, most: float, file: Path | None) -> None:
        self._planned, self._most, self._path = planned, most, file
        self._finished = 0
        self._kinds: Counter[str] = Counter()
        self._last = ""
        self._file: IO[str] | None = None

    def __enter__(self) -> Failures:
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8")
            except OSError as error:
                raise InputError(Problem(f"cannot be written: {error.strerror}", str(self._path))) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def count(self) -> int:
        """All failures so far."""
        return self._kinds.total()

    def by_kind(self) -> dict[str, int]:
        """The failures so far by kind, with a zero where there was none."""
        return {kind: self._kinds[kind] for kind in KINDS}

    def succeeded(self) -> None:
        """Count a call that gave verdicts."""
        self._finished += 1

    def failed(
        self, failure: Failure, *, run: int, ids: Sequence[str], truth: str, items: Sequence[str], reply: str
    ) -> None:
        """Count and write a failure; `WorkFailed` when it is one too many."""
        self._finished += 1
        self._kinds[failure.kind] += 1
        self._last = f"{failure.kind}: {failure.detail}"
        if self._file is not None:
            line = {"kind": failure.kind, "detail": failure.detail, "run": run, "ids": list(ids)}
            line |= {"truth": truth, "items": list(items), "reply": reply[:_LONGEST_REPLY]}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        # With a first call that is hopeless no other can do better; later it is an episode like others.
        if failure.hopeless and self._finished == 1:
            raise WorkFailed(f"the judge cannot be asked: {failure.detail}")
        if self.count == self._finished == ALL_FAILED:
            raise WorkFailed(f"the judge failed at each of its first {ALL_FAILED} calls{self.summary()}")
        if self.count > self._most * self._planned:
            raise WorkFailed(
                f"the judge failed at {self.count} of {self._finished} calls; of the {self._planned} that "
                f"are to be made {self._most:.0%} may fail{self.summary()}"
            )

    def summary(self) -> str:
        """The rest of a sentence about failures: how many of which kind, the last one, and where all are."""
        kinds = ", ".join(f"{number} {kind}" for kind, number in self._kinds.most_common())
        text = f" ({kinds})" if kinds else ""
        text += f"; the last: {self._last}" if self._last else ""
        return text + (f"; all are in {self._path}" if self._path is not None else "")

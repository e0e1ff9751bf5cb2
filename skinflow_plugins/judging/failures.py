"""Failed calls: written to a file at once, and in an evaluation counted until they end the work."""

from __future__ import annotations

import json
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.judging.client import KINDS, Failure

ALL_FAILED = 32
"""So many calls without one success end the work, however many are still planned."""
FILE = "judge_failures.jsonl"
LARGEST = 20_000_000
"""Bytes that the file of a training run may have; a judge that is down for a night would fill a disk."""
_LONGEST_REPLY = 4000


class FailureLog:
    """Appends to `judge_failures.jsonl` in a folder, one JSON line for each failed call.

    A line: `{"time", "name", "kind", "detail", "question", "seed", "asked", "reply"}`; `time` in seconds
    since 1970, `name` says who asks, `question` is the schema's name, and `asked` the end of what was asked,
    without images. Several processes may append to one file. Beyond `largest` bytes nothing is written but a
    last line that says so. A disk that is full never fails a run. Raises `InputError` when the file cannot
    be begun.
    """

    def __init__(self, folder: Path, name: str, *, largest: int = LARGEST) -> None:
        self.path, self._name, self._largest = folder / FILE, name, largest
        self._full = self._told = False
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._append("")
        except OSError as error:
            raise InputError(Problem(f"cannot be written: {error.strerror}", str(self.path))) from error

    def write(
        self,
        failure: Failure,
        *,
        question: str = "",
        seed: int | None = None,
        messages: Sequence[Mapping[str, Any]] = (),
        reply: str = "",
    ) -> None:
        """Append a failure."""
        line = {"time": round(time.time(), 3), "name": self._name, "kind": failure.kind}
        line |= {"detail": failure.detail, "question": question, "seed": seed}
        line |= {"asked": _asked(messages), "reply": reply[:_LONGEST_REPLY]}
        with self._lock:
            if self._full:
                return
            try:
                if self._append(json.dumps(line) + "\n") > self._largest:
                    self._full = True
                    told = f"the file has {self._largest} bytes; further failures are counted, not written"
                    self._append(json.dumps({"time": line["time"], "name": self._name, "kind": "end",
                                             "detail": told}) + "\n")  # fmt: skip
            except OSError as error:
                if not self._told:
                    self._told = True
                    message = f"{self.path}: failures of the judge cannot be written: {error.strerror}"
                    warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _append(self, text: str) -> int:
        """Write in one piece at the end of the file, and give back its length."""
        with self.path.open("ab", buffering=0) as file:
            file.write(text.encode("ascii"))
            return os.fstat(file.fileno()).st_size


def _asked(messages: Sequence[Mapping[str, Any]]) -> str:
    content = messages[-1].get("content") if messages else ""
    if isinstance(content, Sequence) and not isinstance(content, str):
        content = " ".join(str(part.get("text", "(image)")) for part in content if isinstance(part, Mapping))
    return str(content)[-_LONGEST_REPLY:]


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

"""The journal of a folder: one line for each thing that happened, written at once and never changed.

It is the only state. A process that is killed leaves at most half a line, which the next one cuts off; all
other files of the folder are made from the journal and the user's rows.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem

NAME = "journal.jsonl"


class Journal:
    """The folder's journal, held by one process at a time: use it as a context manager.

    `events` are those of earlier processes. Raises `InputError` when another process holds it, when it
    cannot be written, or when a line of it is no event.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Journal:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            message = f"cannot be written: {error.strerror or error}"
            raise InputError(Problem(message, str(self.path))) from error
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                message = "another process is captioning into this folder"
                raise InputError(
                    Problem(message, str(self.path.parent), hint="let it end, or choose another with -o")
                ) from None
            self.events = self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # and with it the lock

    def add(self, event: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Append one event; once this returns, killing the process does not lose it."""
        line = {"event": event, **facts}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        self.events.append(line)
        return line

    def keep(self) -> None:
        """Have the disk write what was appended; a power cut loses what came since."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        raw = self._file.read()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            self._file.truncate(whole)
        return _events(raw[:whole], self.path)


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """The events of a folder's journal, [] without one; half a line at its end is ignored."""
    path = folder / NAME
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror or error}", str(path))) from error
    return _events(raw[: raw.rfind(b"\n") + 1], path)


def _events(raw: bytes, path: Path) -> list[dict[str, Any]]:
    found = []
    for line, text in enumerate(raw.split(b"\n")[:-1], 1):
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            message = "is no event of a journal; somebody else has written into it"
            raise InputError(
                Problem(message, str(path), line, hint="restore the file, or choose another folder")
            )
        found.append(event)
    return found

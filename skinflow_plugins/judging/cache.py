"""Kept answers: the newest in memory, all in a file, and nothing of it ever fails a run.

Reading takes a few microseconds and is done where it is asked for. Writing is left to a thread, which puts
everything that has come up into one transaction, so that the lock of another process delays no reward. What
cannot be read or written (a full or read-only disk, a lock that lasts) is counted and told once; the judge is
then simply asked.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging.cache_file import CacheFile, Damaged, Kept, open_cache

IN_MEMORY = 8192
"""Answers in memory."""
_LONGEST_IN_MEMORY = 64_000
_USED_AGAIN = 3600.0
"""Seconds after which the time of the last use is written again."""
_KNOWN_FOR = 7 * 86400.0
"""Seconds for which an option that a server does not take is left out; servers learn."""
_LEAVE_WITHIN = 10.0
_READ_WAIT = 0.5
"""Seconds that a reader waits for a lock; only a file that is being made or mended locks readers out."""


class Cache:
    """The kept answers of one file, for all judges of this process, from any thread.

    Raises `InputError` for a file of another program or layout. A damaged file is moved aside with a warning.
    """

    def __init__(self, path: Path, *, in_memory: int = IN_MEMORY, wait: float = 5.0) -> None:
        self.path = path
        self._in_memory, self._wait = in_memory, wait
        self._newest: OrderedDict[bytes, Kept] = OrderedDict()
        self._lock = threading.RLock()
        self._failures = 0
        self._told = self._moved = False
        self._begun = False
        self._start()
        self._reader = self._open(min(wait, _READ_WAIT))
        self._begun = True

    def _start(self) -> None:
        self._pid = os.getpid()
        self._answers: dict[bytes, Kept] = {}
        self._used: dict[bytes, float] = {}
        self._work = threading.Condition(threading.Lock())
        self._writing = self._stopped = False
        self._writer: threading.Thread | None = None

    @property
    def failures(self) -> int:
        """How often the file could not be read or written."""
        return self._failures

    def get(self, key: bytes) -> Kept | None:
        """The kept answer to a call, if there is one."""
        with self._lock:
            kept = self._newest.get(key)
            if kept is not None:
                self._newest.move_to_end(key)
                return kept
            self._after_fork()
            if self._moved:
                self._moved = False
                self._reopen()
            kept = self._read(key)
            if kept is not None:
                self._remember(key, kept)
        if kept is not None and time.time() - kept.used > _USED_AGAIN:
            with self._work:
                if not self._stopped:
                    self._used[key] = time.time()
                    self._wake()
        return kept

    def put(
        self, key: bytes, text: str, *, model: str, prompt: str, prompt_tokens: int, completion_tokens: int
    ) -> None:
        """Keep an answer."""
        now = time.time()
        kept = Kept(text, model, prompt, prompt_tokens, completion_tokens, now, now)
        with self._lock:
            self._after_fork()
            self._remember(key, kept)
        with self._work:
            if not self._stopped:
                self._answers[key] = kept
                self._wake()

    def unknown(self, endpoint: str, model: str) -> list[str]:
        """The options that a server was lately seen not to take."""
        with self._lock:
            self._after_fork()
            try:
                since = time.time() - _KNOWN_FOR
                return [] if self._reader is None else self._reader.unknown(endpoint, model, since)
            except sqlite3.Error as error:
                self._failed(error)
                return []

    def learned(self, endpoint: str, model: str, unknown: Iterable[str]) -> None:
        """Note the options that a server does not take; this happens once per server."""
        with self._lock:
            self._after_fork()
            try:
                if self._reader is not None:
                    self._reader.learned(endpoint, model, unknown)
            except sqlite3.Error as error:
                self._failed(error)

    def flush(self, within: float = _LEAVE_WITHIN) -> bool:
        """Wait until all answers are in the file, or could not be put there; False when time ran out."""
        with self._work:
            if self._pid != os.getpid():
                return True
            return self._work.wait_for(
                lambda: not (self._answers or self._used or self._writing), timeout=within
            )

    def close(self) -> None:
        """Flush and close; an answer that is asked for or kept after that is not in the file."""
        self.flush()
        with self._work:
            self._stopped = True
            self._work.notify_all()
        if self._writer is not None and self._pid == os.getpid():
            self._writer.join(_LEAVE_WITHIN)
        with self._lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _read(self, key: bytes) -> Kept | None:
        try:
            return None if self._reader is None else self._reader.get(key)
        except sqlite3.Error as error:
            self._failed(error)
            if _is_damage(error) and self._reader is not None:
                self._reopen(self._reader.inode)
            return None

    def _reopen(self, damaged: int = 0) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._open(min(self._wait, _READ_WAIT), damaged)

    def _remember(self, key: bytes, kept: Kept) -> None:
        if len(kept.text) > _LONGEST_IN_MEMORY:
            return
        self._newest[key] = kept
        self._newest.move_to_end(key)
        if len(self._newest) > self._in_memory:
            self._newest.popitem(last=False)

    def _open(self, wait: float, damaged: int = 0) -> CacheFile | None:
        try:
            file, aside = open_cache(self.path, wait=wait, damaged=damaged)
        except (OSError, sqlite3.Error, Damaged) as error:
            self._failed(error)
            return None
        except InputError as error:
            # Refused at the start; later it is a file that somebody has put in the place of ours.
            if not self._begun:
                raise
            self._failed(error)
            return None
        if aside is not None:
            _tell(
                f"the judge's cache {self.path} was damaged; it is kept as {aside.name}, and a new one begun"
            )
        return file

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if not self._told:
            self._told = True
            reason = getattr(error, "strerror", None) or error
            _tell(
                f"the judge's cache {self.path} cannot be used as it should: {reason}; answers that are not "
                "in it are asked for, and paid for, again"
            )

    def _after_fork(self) -> None:
        """A connection and a thread belong to the process that made them."""
        if self._pid != os.getpid():
            self._start()
            # Not closed: that would tidy up behind the parent. It is left to the parent's memory.
            _left_to_the_parent.append(self._reader)
            self._reader = self._open(min(self._wait, _READ_WAIT))

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_all, name="judge cache", daemon=True)
            self._writer.start()
        self._work.notify_all()

    def _write_all(self) -> None:
        file: CacheFile | None = None
        while True:
            with self._work:
                self._work.wait_for(lambda: self._answers or self._used or self._stopped)
                if self._stopped and not (self._answers or self._used):
                    break
                answers, used = self._answers, self._used
                self._answers, self._used, self._writing = {}, {}, True
            try:
                if file is not None and file.was_moved():  # by another process, which found it damaged
                    file.close()
                    file, self._moved = None, True
                file = file or self._open(self._wait)
                if file is not None:
                    file.write(answers.items(), [(when, key) for key, when in used.items()])
            except sqlite3.Error as error:
                self._failed(error)
                if _is_damage(error) and file is not None:
                    damaged = file.inode
                    file.close()
                    file, self._moved = self._open(self._wait, damaged), True
            finally:
                with self._work:
                    self._writing = False
                    self._work.notify_all()
        if file is not None:
            file.close()


def cache_at(path: Path) -> Cache:
    """The cache of a file, one for the whole process; it is flushed when the process ends."""
    with _opening:
        if path not in _caches:
            _caches[path] = Cache(path)
            if len(_caches) == 1:
                atexit.register(_leave)
        return _caches[path]


def forget_caches() -> None:
    """Close all caches of this process."""
    with _opening:
        while _caches:
            _caches.popitem()[1].close()


def _leave() -> None:
    for cache in list(_caches.values()):
        cache.flush()


def _tell(message: str) -> None:
    # Where warnings are made errors, this one would end the thread that writes.
    with contextlib.suppress(Warning):
        warnings.warn(message, RuntimeWarning, stacklevel=4)


def _is_damage(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError | sqlite3.ProgrammingError | sqlite3.IntegrityError
    )


_caches: dict[Path, Cache] = {}
_opening = threading.Lock()
_left_to_the_parent: list[object] = []

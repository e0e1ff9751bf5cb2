"""The file of kept answers: SQLite in WAL mode, so that many processes may read and write it at once.

    answers  key (SHA-256 of the call), text, model, prompt, prompt_tokens, completion_tokens, created, used
    servers  endpoint, model, unknown, seen: options that a server does not take, which are part of the key

No question is kept, only the hash of it, and no key of a server. `application_id` says that the file is ours
and `user_version` how it is laid out. A damaged file is moved aside and begun anew; one of another layout or
of another program is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.judging.cache_key import FORMAT

APPLICATION = 0x534B464A  # "SKFJ"
_MAGIC = b"SQLite format 3\x00"
_SUFFIXES = (".sqlite3", ".sqlite", ".db")
_PARTS = ("-wal", "-shm", "")
"""The file comes last: a new one must not find the log of the old."""
_TABLES = (
    "CREATE TABLE answers (key BLOB PRIMARY KEY, text TEXT NOT NULL, model TEXT NOT NULL, "
    "prompt TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, "
    "created REAL NOT NULL, used REAL NOT NULL)",
    "CREATE TABLE servers (endpoint TEXT NOT NULL, model TEXT NOT NULL, unknown TEXT NOT NULL, "
    "seen REAL NOT NULL, PRIMARY KEY (endpoint, model))",
)


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer in the cache; the times are seconds since 1970."""

    text: str
    model: str
    prompt: str
    prompt_tokens: int
    completion_tokens: int
    created: float
    used: float


class Damaged(Exception):
    """The file of this inode is ours, or has the name of one, and cannot be read as what it is."""

    def __init__(self, message: str, inode: int) -> None:
        super().__init__(message)
        self.inode = inode


class CacheFile:
    """One connection to the file, for one thread at a time and one process.

    `wait` are the seconds to wait for the lock of another process. Raises `InputError` for a file of another
    program or layout, `Damaged` for a damaged one, and `OSError` or `sqlite3.OperationalError` where it
    cannot be opened.
    """

    def __init__(self, path: Path, *, wait: float = 5.0) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, "its folder is a file", str(path)) from None
        _begin(path)
        self.inode = os.stat(path).st_ino
        self._connection = sqlite3.connect(
            path, timeout=wait, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        try:
            self._check(wait)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection; the last one to close it tidies up the file."""
        self._connection.close()

    def was_moved(self) -> bool:
        """Whether another file, or none, stands in its place by now."""
        try:
            return os.stat(self.path).st_ino != self.inode
        except OSError:
            return True

    def get(self, key: bytes) -> Kept | None:
        """The answer to a call."""
        found = self._connection.execute(
            "SELECT text, model, prompt, prompt_tokens, completion_tokens, created, used FROM answers "
            "WHERE key = ?",
            (key,),
        ).fetchone()
        return Kept(*found) if found is not None and isinstance(found[0], str) else None

    def write(self, answers: Iterable[tuple[bytes, Kept]], used: Iterable[tuple[float, bytes]]) -> None:
        """Keep answers, and note when others were used last, all in one transaction."""
        rows = [
            (key, k.text, k.model, k.prompt, k.prompt_tokens, k.completion_tokens, k.created, k.used)
            for key, k in answers
        ]
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?,?,?,?,?,?,?,?)", rows)
            self._connection.executemany("UPDATE answers SET used = max(used, ?) WHERE key = ?", used)

    def unknown(self, endpoint: str, model: str, since: float) -> list[str]:
        """The options that a server does not take, if it was seen to since then."""
        found = self._connection.execute(
            "SELECT unknown FROM servers WHERE endpoint = ? AND model = ? AND seen >= ?",
            (endpoint, model, since),
        ).fetchone()
        return str(found[0]).split() if found else []

    def learned(self, endpoint: str, model: str, unknown: Iterable[str]) -> None:
        """Note the options that a server does not take."""
        row = (endpoint, model, " ".join(sorted(unknown)), time.time())
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO servers VALUES (?,?,?,?)", row)

    @property
    def connection(self) -> sqlite3.Connection:
        """For what `skinflow judge cache` does."""
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _check(self, wait: float) -> None:
        try:
            if self._is_empty():
                with _locked(self.path):
                    self._create(time.monotonic() + wait)
            kind, layout = self._number("application_id"), self._number("user_version")
            if kind == APPLICATION and layout == FORMAT:
                self._connection.execute("SELECT count(*) FROM (SELECT 1 FROM answers LIMIT 1)").fetchone()
                self._connection.execute("SELECT count(*) FROM (SELECT 1 FROM servers LIMIT 1)").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise Damaged("a table is missing", self.inode) from error
            raise
        except sqlite3.DatabaseError as error:
            raise self._unreadable(error) from error
        if kind != APPLICATION:
            message = "is a database of another program, not one of judges' answers; nothing was changed"
            raise InputError(Problem(message, str(self.path), hint="name another file as the judge's cache"))
        if layout != FORMAT:
            message = f"holds judges' answers in the layout {layout}; this version reads and writes {FORMAT}"
            hint = (
                "name another file as the judge's cache, or remove this one with "
                "`skinflow judge cache clear --yes`"
            )
            raise InputError(Problem(message, str(self.path), hint=hint))
        self._connection.execute("PRAGMA synchronous = NORMAL")  # a lost answer costs one call

    def _unreadable(self, error: sqlite3.DatabaseError) -> Exception:
        """`Damaged`, unless the file may well be something else that somebody needs under this name."""
        path = self.path
        if is_ours(path) or (path.suffix in _SUFFIXES and not _other_database(path)):
            return Damaged(str(error), self.inode)
        hint = f"name another file as the judge's cache; such files end in {_SUFFIXES[0]}"
        return InputError(Problem("is no file of judges' answers; nothing was changed", str(path), hint=hint))

    def _is_empty(self) -> bool:
        if self._number("application_id") or self._number("user_version"):
            return False
        return self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None

    def _create(self, until: float) -> None:
        if not self._is_empty():  # another process was faster
            return
        # Both are settled before the first table; WAL stays with the file.
        self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError:
                # Somebody looks into the file; for this change SQLite does not wait by itself.
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        with self._transaction():
            for table in _TABLES:
                self._connection.execute(table)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION}")
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def open_cache(path: Path, *, wait: float = 5.0, damaged: int = 0) -> tuple[CacheFile, Path | None]:
    """The file, and where a damaged one was moved to, if there was one. Raises as `CacheFile` does.

    `damaged` is the inode of a file that turned out to be damaged when it was used.
    """
    try:
        found = _opened(path, wait)
        if found.inode != damaged:
            return found, None
        found.close()
    except Damaged as error:
        damaged = error.inode
    with _locked(path):
        # Another process may have moved it while we waited.
        aside = None
        if path.exists() and os.stat(path).st_ino == damaged:
            aside = _move_aside(path)
    return _opened(path, wait), aside


_MOVED = ("disk I/O error", "readonly database")


def _opened(path: Path, wait: float) -> CacheFile:
    """The file, opened again where another process moved it, or its log, while it was being opened.

    SQLite then calls that an I/O error or a file that cannot be written; a real one costs .1 s more.
    """
    for _ in range(5):
        try:
            return CacheFile(path, wait=wait)
        except sqlite3.OperationalError as error:
            if not any(words in str(error) for words in _MOVED):
                raise
            time.sleep(0.02)
    return CacheFile(path, wait=wait)


def remove(path: Path) -> None:
    """Remove the file and what SQLite keeps beside it."""
    for suffix in _PARTS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def is_ours(path: Path) -> bool:
    """Whether the file says that it is a cache of judges' answers, of whatever layout."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(72)
        return head.startswith(_MAGIC) and int.from_bytes(head[68:72], "big") == APPLICATION
    return False


def _begin(path: Path) -> None:
    """An empty file that its owner alone can read: replies may quote what is confidential."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _other_database(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(72)
        return head.startswith(_MAGIC) and int.from_bytes(head[68:72], "big") not in (0, APPLICATION)
    return False


def _move_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}-{os.getpid()}")
    for suffix in _PARTS:
        with contextlib.suppress(FileNotFoundError):
            os.replace(path.with_name(path.name + suffix), aside.with_name(aside.name + suffix))
    return aside


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock is gone with its process."""
    import fcntl

    with path.with_name(path.name + ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

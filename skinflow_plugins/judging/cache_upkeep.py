"""Looking after the file of kept answers: what is in it, and making it smaller."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from skinflow_plugins.errors import InputError, Problem, WorkFailed, nearest
from skinflow_plugins.judging.cache_file import CacheFile, Damaged, is_ours, open_cache, remove

_DAY = 86400.0
_MB = 1e6
_CHUNK = 20
"""To fit a size, a twentieth of the answers goes at a time."""


@dataclass(frozen=True, slots=True)
class Group:
    """The answers of one model to questions of one prompt; times in seconds since 1970."""

    model: str
    prompt: str
    entries: int
    characters: int
    oldest: float
    newest: float
    used: float


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a file; `size` in bytes, with what SQLite keeps beside it."""

    path: Path
    size: int
    groups: tuple[Group, ...]

    @property
    def entries(self) -> int:
        """All answers."""
        return sum(group.entries for group in self.groups)


def contents(path: Path) -> Contents:
    """What is kept in a file; nothing where there is no file. Raises `InputError` or `WorkFailed`."""
    if not path.exists():
        return Contents(path, 0, ())
    file = _opened(path)
    try:
        rows = file.connection.execute(
            "SELECT model, prompt, count(*), sum(length(text)), min(created), max(created), max(used) "
            "FROM answers GROUP BY model, prompt ORDER BY count(*) DESC, model, prompt"
        ).fetchall()
    except sqlite3.Error as error:
        raise _failed(path, error) from error
    finally:
        file.close()
    return Contents(path, _size(path), tuple(Group(*row) for row in rows))


def prune(
    path: Path,
    *,
    older_than: float | None = None,
    model: str | None = None,
    max_mb: float | None = None,
) -> int:
    """Remove answers, and give back how many.

    `older_than` are days since the last use (known to the hour). With `model` only its answers are looked at.
    Then, with `max_mb`, those that were not used for longest go until the file has at most so many megabytes
    (10^6 bytes). Raises `InputError` when no answer is of that model, and `WorkFailed` when another process
    keeps the file locked.
    """
    if not path.exists():
        return 0
    file = _opened(path)
    try:
        return _pruned(file, older_than, model, max_mb)
    except sqlite3.Error as error:
        raise _failed(path, error) from error
    finally:
        file.close()


def _pruned(file: CacheFile, older_than: float | None, model: str | None, max_mb: float | None) -> int:
    connection = file.connection
    removed = 0
    if model is not None:
        known = [name for (name,) in connection.execute("SELECT DISTINCT model FROM answers")]
        if model not in known:
            message = f"holds no answer of the model {model!r}; {nearest(model, known)}"
            raise InputError(Problem(message, str(file.path)))
    if older_than is not None or (model is not None and max_mb is None):
        before = time.time() - (older_than or 0.0) * _DAY
        removed += connection.execute(
            "DELETE FROM answers WHERE used <= ? AND (? IS NULL OR model = ?)", (before, model, model)
        ).rowcount
    if max_mb is not None:
        left = connection.execute(
            "SELECT count(*) FROM answers WHERE ? IS NULL OR model = ?", (model, model)
        ).fetchone()[0]
        chunk = max(1, left // _CHUNK)
        while _live(connection) > max_mb * _MB:
            gone = connection.execute(
                "DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers WHERE ? IS NULL OR model = ? "
                "ORDER BY used, created LIMIT ?)",
                (model, model, chunk),
            ).rowcount
            if not gone:
                break
            removed += gone
    _shrink(connection)
    return removed


def clear(path: Path) -> int:
    """Remove all answers, and give back how many.

    A file of another layout of ours is removed as a whole, and counts as 0. Raises `InputError` for a file
    that is not ours, and `WorkFailed` when another process keeps it locked.
    """
    if not path.exists():
        return 0
    try:
        file = _opened(path)
    except InputError:
        if not is_ours(path):
            raise
        remove(path)
        return 0
    try:
        removed = file.connection.execute("DELETE FROM answers").rowcount
        file.connection.execute("DELETE FROM servers")
        _shrink(file.connection)
    except sqlite3.Error as error:
        raise _failed(path, error) from error
    finally:
        file.close()
    return removed


def _opened(path: Path) -> CacheFile:
    try:
        file, aside = open_cache(path)
    except (OSError, sqlite3.Error, Damaged) as error:
        raise _failed(path, error) from error
    if aside is not None:
        file.close()
        message = f"was damaged; it is kept as {aside.name}, and a new one was begun"
        raise WorkFailed(f"{path}: {message}")
    return file


def _failed(path: Path, error: Exception) -> WorkFailed:
    reason = getattr(error, "strerror", None) or error
    return WorkFailed(f"{path}: the judge's cache cannot be used: {reason}")


def _live(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _shrink(connection: sqlite3.Connection) -> None:
    connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free a single page
    # Where another process reads, the log is shortened later, by whoever closes the file last.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _size(path: Path) -> int:
    files = [path, path.with_name(path.name + "-wal")]
    return sum(file.stat().st_size for file in files if file.exists())

import hashlib
import os
import resource
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from skinflow_plugins.judging.cache import Cache, cache_at, forget_caches
from skinflow_plugins.judging.cache_file import CacheFile, Kept, open_cache

TOKENS = {"model": "m", "prompt": "verdicts", "prompt_tokens": 100, "completion_tokens": 10}


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "judge.sqlite3"


@pytest.fixture
def cache(path: Path) -> Iterator[Cache]:
    made = Cache(path)
    yield made
    made.close()


def test_an_answer_is_there_at_once_and_in_the_file_soon(cache: Cache, path: Path) -> None:
    assert cache.get(key(1)) is None
    cache.put(key(1), "one", **TOKENS)
    found = cache.get(key(1))
    assert found is not None
    assert (found.text, found.model, found.prompt) == ("one", "m", "verdicts")
    assert abs(found.created - time.time()) < 60
    assert cache.flush()
    other = CacheFile(path)
    assert other.get(key(1)) == found
    other.close()


def test_memory_is_bounded_and_the_file_has_the_rest(path: Path) -> None:
    cache = Cache(path, in_memory=10)
    for number in range(100):
        cache.put(key(number), f"text {number}", **TOKENS)
    cache.put(key(200), "x" * 100_000, **TOKENS)
    assert cache.flush()
    assert len(cache._newest) == 10
    assert [cache.get(key(number)).text for number in range(100)] == [  # type: ignore[union-attr]
        f"text {number}" for number in range(100)
    ]
    assert len(cache._newest) == 10
    assert len(cache.get(key(200)).text) == 100_000  # type: ignore[union-attr]
    cache.close()


def test_memory_keeps_what_was_used_last(path: Path) -> None:
    cache = Cache(path, in_memory=2)
    cache.put(key(1), "a", **TOKENS)
    cache.put(key(2), "b", **TOKENS)
    cache.get(key(1))
    cache.put(key(3), "c", **TOKENS)
    assert set(cache._newest) == {key(1), key(3)}
    cache.close()


def test_the_time_of_the_last_use_is_noted_once_in_a_while(path: Path) -> None:
    file = CacheFile(path)
    recent = time.time() - 60
    file.write(
        [(key(1), Kept("a", "m", "v", 1, 1, 1.0, 1.0)), (key(2), Kept("b", "m", "v", 1, 1, 1.0, recent))], []
    )
    cache = Cache(path)
    cache.get(key(1))
    cache.get(key(2))
    assert cache.flush()
    first, second = file.get(key(1)), file.get(key(2))
    assert first is not None
    assert second is not None
    assert abs(first.used - time.time()) < 60
    assert second.used == recent
    cache.close()
    file.close()


def test_a_damaged_file_is_told_and_begun_anew(path: Path) -> None:
    path.write_bytes(b"nonsense" * 1000)
    with pytest.warns(RuntimeWarning, match=r"was damaged; it is kept as judge\.sqlite3\.damaged-"):
        cache = Cache(path)
    cache.put(key(1), "one", **TOKENS)
    assert cache.flush()
    assert cache.failures == 0
    cache.close()
    assert len(list(path.parent.glob("*.damaged-*"))) == 1


def test_damage_that_shows_while_the_file_is_used(path: Path) -> None:
    file = CacheFile(path)
    file.write([(key(n), Kept("x" * 300, "m", "v", 1, 1, 1.0, 1.0)) for n in range(3000)], [])
    file.close()
    cache = Cache(path)
    with path.open("r+b") as spoiling:
        size = spoiling.seek(0, os.SEEK_END)
        spoiling.seek(4096)
        spoiling.write(os.urandom(size - 4096))  # all but the first page, which has been looked at
    raw = path.read_bytes()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [cache.get(key(n)) for n in (0, 1500, 2999)] == [None] * 3
        (aside,) = path.parent.glob("*.damaged-*")
        assert aside.read_bytes() == raw
        cache.put(key(1), "one", **TOKENS)
        assert cache.flush()
        cache._newest.clear()
        assert cache.get(key(1)) is not None  # from the new file
        cache.close()
    assert [("was damaged" in str(each.message)) for each in told].count(True) == 1
    assert len(list(path.parent.glob("*.damaged-*"))) == 1


def test_a_file_that_another_process_moved_is_followed(path: Path) -> None:
    cache = Cache(path)
    cache.put(key(1), "one", **TOKENS)
    assert cache.flush()
    other, aside = open_cache(path, damaged=path.stat().st_ino)
    assert aside is not None
    cache.put(key(2), "two", **TOKENS)
    assert cache.flush()
    assert other.get(key(2)) is not None
    cache._newest.clear()
    assert [cache.get(key(1)), cache.get(key(2)) is not None] == [None, True]
    assert cache.failures == 0
    cache.close()
    other.close()


def test_a_file_of_another_version_in_the_place_of_ours_fails_nothing(path: Path) -> None:
    """The thread that writes must outlive it: else answers would pile up in memory."""
    cache = Cache(path)
    cache.put(key(1), "one", **TOKENS)
    assert cache.flush()
    other = sqlite3.connect(path.with_name("other.sqlite3"))
    other.executescript("PRAGMA application_id = 1397442122; PRAGMA user_version = 9; CREATE TABLE a (b)")
    other.close()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.with_name("other.sqlite3").replace(path)
    cache.put(key(2), "two", **TOKENS)
    with pytest.warns(RuntimeWarning, match="in the layout 9"):
        assert cache.flush(5.0)
    assert cache._writer is not None
    assert cache._writer.is_alive()
    cache.put(key(3), "three", **TOKENS)
    assert cache.flush(5.0)
    assert cache.get(key(4)) is None
    assert cache.get(key(3)) is not None  # from memory
    assert cache.failures >= 2
    cache.close()


def test_a_lock_that_lasts_fails_nothing_and_is_told_once(path: Path) -> None:
    cache = Cache(path, wait=0.05)
    cache.put(key(0), "before", **TOKENS)
    assert cache.flush()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(1, 4):
            cache.put(key(number), "while locked", **TOKENS)
            assert cache.flush()
        cache.learned("http://a/v1", "m", ["seed"])
    assert [str(each.message).count("database is locked") for each in told] == [1]
    assert cache.failures == 4
    assert cache.get(key(1)) is not None  # from memory
    holder.execute("ROLLBACK")
    holder.close()
    cache.put(key(9), "after", **TOKENS)
    assert cache.flush()
    file = CacheFile(path)
    assert [file.get(key(n)) is not None for n in (0, 1, 9)] == [True, False, True]
    file.close()
    cache.close()


def test_a_place_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="cannot be used as it should: its folder is a file; "):
        cache = Cache(tmp_path / "file" / "judge.sqlite3")
    cache.put(key(1), "one", **TOKENS)
    assert cache.flush()
    assert cache.get(key(1)) is not None  # while the process lives
    assert cache.get(key(2)) is None
    assert cache.unknown("http://a/v1", "m") == []
    cache.learned("http://a/v1", "m", ["seed"])
    assert cache.failures == 2
    cache.close()


FULL = """
import resource, signal, sys, warnings
from pathlib import Path
from skinflow_plugins.judging.cache import Cache

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cache = Cache(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
tokens = {"model": "m", "prompt": "v", "prompt_tokens": 1, "completion_tokens": 1}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for number in range(20):
        cache.put(number.to_bytes(32, "big"), "x" * 50_000, **tokens)
        assert cache.flush()
print(len(told), told[0].message)
print(cache.failures > 5, cache.get((19).to_bytes(32, "big")) is not None)
"""


def test_a_full_disk_fails_nothing(path: Path) -> None:
    """No file of this process may pass 200 kB: SQLite meets the error that a full disk gives."""
    assert resource.RLIMIT_FSIZE
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("1 the judge's cache")
    assert second == "True True"
    file = CacheFile(path)  # and what was there before can be read
    assert file.get(key(0)) is not None
    assert file.get(key(19)) is None
    file.close()


def test_one_cache_for_a_file_in_a_process(path: Path) -> None:
    one = cache_at(path)
    assert cache_at(path) is one
    one.put(key(1), "one", **TOKENS)
    forget_caches()
    two = cache_at(path)
    assert two is not one
    assert two.get(key(1)) is not None  # closing wrote it
    one.put(key(2), "two", **TOKENS)  # too late for the file, and no error
    assert one.flush()


LEAVES = """
import sys
from pathlib import Path
from skinflow_plugins.judging.cache import cache_at

cache = cache_at(Path(sys.argv[1]))
tokens = {"model": "m", "prompt": "v", "prompt_tokens": 1, "completion_tokens": 1}
for number in range(500):
    cache.put(number.to_bytes(32, "big"), "text", **tokens)
"""


def test_a_process_that_ends_leaves_its_answers(path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEAVES, str(path)], check=True)
    file = CacheFile(path)
    assert all(file.get(key(number)) is not None for number in range(500))
    file.close()


def test_a_forked_child_reads_and_writes_by_itself(path: Path) -> None:
    cache = Cache(path)
    cache.put(key(1), "parent", **TOKENS)
    assert cache.flush()
    cache._newest.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of forking with threads
        child = os.fork()
    if not child:
        good = cache.get(key(1)) is not None
        cache.put(key(2), "child", **TOKENS)
        os._exit(0 if cache.flush() and good else 1)
    assert os.waitpid(child, 0)[1] == 0
    found = cache.get(key(2))
    assert found is not None
    assert found.text == "child"
    cache.close()


WRITER = """
import hashlib, os, sys, time
from pathlib import Path
from skinflow_plugins.judging.cache import Cache

cache = Cache(Path(sys.argv[1]))
tokens = {"model": "m", "prompt": "v", "prompt_tokens": 1, "completion_tokens": 1}
first, count = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for number in range(first, first + count):
    text = f"text {number} " * 20
    cache.put(hashlib.sha256(str(number).encode()).digest(), text, **tokens)
    if number % 10 == 0:
        cache.flush()
        cache.get(hashlib.sha256(str(number // 2).encode()).digest())
    print(number, flush=True)
cache.close()
print("failures", cache.failures, flush=True)
"""


def hashed(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def test_processes_that_write_one_file_at_once_lose_nothing(path: Path) -> None:
    count = 400
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(first), str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in (0, 200, 400)  # half of each one's answers are another's too
    ]
    for writer in writers:
        said, complaints = writer.communicate(timeout=120)
        assert writer.returncode == 0, complaints
        assert "Warning" not in complaints
        assert said.splitlines()[-1] == "failures 0"
    file = CacheFile(path)
    assert file.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert file.connection.execute("SELECT count(*) FROM answers").fetchone() == (800,)
    for number in range(800):
        found = file.get(hashed(number))
        assert found is not None
        assert found.text == f"text {number} " * 20
    file.close()
    assert not list(path.parent.glob("*.damaged-*"))


def test_a_process_that_is_killed_while_it_writes_harms_nothing(path: Path) -> None:
    for attempt in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(attempt * 100_000), "100000"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdout is not None
        last = attempt * 100_000 + 150 + 77 * attempt
        for line in writer.stdout:
            if line.strip() == str(last):
                break
        writer.kill()
        writer.wait()
        writer.stdout.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cache = Cache(path)
        # What was flushed is there, up to the last full ten.
        for number in range(attempt * 100_000, last - 10):
            found = cache.get(hashed(number))
            assert found is not None, number
            assert found.text == f"text {number} " * 20
        cache.put(key(attempt), "goes on", **TOKENS)
        assert cache.flush()
        cache.close()
    file = CacheFile(path)
    assert file.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    file.close()

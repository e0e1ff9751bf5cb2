import sqlite3
import time
from pathlib import Path

import pytest

from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.judging.cache_file import CacheFile, Kept, open_cache
from skinflow_plugins.judging.cache_upkeep import clear, contents, prune

DAY = 86400.0


def filled(path: Path, count: int = 100, size: int = 2000) -> None:
    """So many answers of two models; answer n was last used n days ago."""
    now = time.time()
    file = CacheFile(path)
    file.write(
        [
            (
                number.to_bytes(32, "big"),
                Kept("x" * size, "ab"[number % 2], "verdicts", 1, 1, now - 200 * DAY, now - number * DAY),
            )
            for number in range(count)
        ],
        [],
    )
    file.learned("http://a/v1", "a", ["seed"])
    file.close()


def test_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    assert contents(path).entries == 0
    assert not path.exists()  # looking begins nothing
    filled(path)
    found = contents(path)
    assert found.entries == 100
    assert found.size >= 100 * 2000
    assert [(group.model, group.prompt, group.entries) for group in found.groups] == [
        ("a", "verdicts", 50),
        ("b", "verdicts", 50),
    ]
    first = found.groups[0]
    assert first.characters == 100_000
    assert abs(first.used - time.time()) < 60
    assert abs(first.oldest - (time.time() - 200 * DAY)) < 60


def test_old_answers_go(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    assert prune(path, older_than=1) == 0
    filled(path)
    before = contents(path).size
    assert prune(path, older_than=29.5) == 70
    assert contents(path).entries == 30
    assert contents(path).size < before / 2  # the file shrinks
    assert prune(path, older_than=0, model="b") == 15
    assert [group.model for group in contents(path).groups] == ["a"]
    assert prune(path, model="a") == 15


def test_a_model_that_has_none(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    filled(path)
    with pytest.raises(InputError, match="holds no answer of the model 'c'; known: a, b"):
        prune(path, model="c")


def test_what_was_not_used_for_longest_goes_until_the_file_is_small(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    filled(path, 1000)
    removed = prune(path, max_mb=1.0)
    left = contents(path)
    assert left.size <= 1_000_000
    assert 100 < left.entries == 1000 - removed
    file = CacheFile(path)
    assert [file.get(n.to_bytes(32, "big")) is not None for n in (0, 99, 999)] == [True, True, False]
    file.close()
    assert prune(path, max_mb=1.0) == 0
    assert prune(path, max_mb=0) == left.entries


def test_of_one_model_alone(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    filled(path, 1000)
    prune(path, max_mb=0.1, model="a")
    assert [(group.model, group.entries) for group in contents(path).groups] == [("b", 500)]


def test_all_of_them_go(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    assert clear(path) == 0
    filled(path)
    reader = CacheFile(path)  # another process is at work
    assert clear(path) == 100
    assert reader.get((1).to_bytes(32, "big")) is None
    assert reader.unknown("http://a/v1", "a", 0.0) == []
    reader.close()
    assert contents(path).size < 100_000


def test_a_file_of_another_layout_is_removed_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(InputError, match="layout 7"):
        contents(path)
    with pytest.raises(InputError, match="layout 7"):
        prune(path, older_than=0)
    assert clear(path) == 0
    assert not path.exists()
    open_cache(path)[0].close()


def test_a_file_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE a (b)")
    connection.commit()
    connection.close()
    raw = path.read_bytes()
    for work in (contents, clear):
        with pytest.raises(InputError, match="another program"):
            work(path)
    assert path.read_bytes() == raw


def test_a_damaged_file_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(WorkFailed, match=r"was damaged; it is kept as judge\.sqlite3\.damaged-"):
        contents(path)
    assert contents(path).entries == 0


def test_a_lock_that_lasts_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "judge.sqlite3"
    filled(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(
        "skinflow_plugins.judging.cache_upkeep.open_cache", lambda path: open_cache(path, wait=0.05)
    )
    with pytest.raises(WorkFailed, match="cannot be used: database is locked"):
        clear(path)
    holder.execute("ROLLBACK")
    holder.close()
    assert clear(path) == 100

import os
import sqlite3
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging.cache_file import APPLICATION, CacheFile, Kept, is_ours, open_cache, remove

KEPT = Kept('{"a": 1}', "m", "verdicts", 100, 10, 1000.0, 2000.0)


def test_what_is_written_is_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "judge.sqlite3"
    one, two = CacheFile(path), CacheFile(path)
    one.write([(b"k" * 32, KEPT)], [])
    assert two.get(b"k" * 32) == KEPT
    assert two.get(b"x" * 32) is None
    two.write([], [(3000.0, b"k" * 32), (1.0, b"k" * 32)])
    found = one.get(b"k" * 32)
    assert found is not None
    assert found.used == 3000.0  # the latest, whoever comes last
    assert one.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    one.close()
    two.close()
    assert [each.name for each in path.parent.iterdir() if each.suffix != ".lock"] == ["judge.sqlite3"]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    CacheFile(tmp_path / "judge.sqlite3").close()
    assert stat.S_IMODE(os.stat(tmp_path / "judge.sqlite3").st_mode) == 0o600


def test_options_that_a_server_does_not_take(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "judge.sqlite3")
    file.learned("http://a/v1", "m", ["seed", "response_format"])
    assert file.unknown("http://a/v1", "m", 0.0) == ["response_format", "seed"]
    assert file.unknown("http://a/v1", "n", 0.0) == []
    assert file.unknown("http://a/v1", "m", time.time() + 1) == []
    file.learned("http://a/v1", "m", [])
    assert file.unknown("http://a/v1", "m", 0.0) == []
    file.close()


def spoilt(path: Path, how: str) -> bytes:
    """A cache that is damaged in this way, and its bytes."""
    if how == "garbage":
        path.write_bytes(b"\x00\xffnonsense" * 1000)
        return path.read_bytes()
    file = CacheFile(path)
    file.write([(os.urandom(32), Kept("x" * 200, "m", "v", 1, 1, 1.0, 1.0)) for _ in range(500)], [])
    file.close()
    raw = bytearray(path.read_bytes())
    if how == "first page":
        raw[100:4000] = b"\xaa" * 3900
    elif how == "cut":
        raw = raw[:3000]
    elif how == "header":
        raw[:16] = b"\x00" * 16
    elif how == "no table":
        path.unlink()
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("CREATE TABLE other (a)")
        connection.close()
        return path.read_bytes()
    path.write_bytes(raw)
    return bytes(raw)


@pytest.mark.parametrize("how", ["garbage", "first page", "cut", "header", "no table"])
def test_a_damaged_file_is_kept_under_another_name_and_begun_anew(tmp_path: Path, how: str) -> None:
    path = tmp_path / "judge.sqlite3"
    raw = spoilt(path, how)
    file, aside = open_cache(path)
    assert aside is not None
    assert aside.name.startswith("judge.sqlite3.damaged-")
    assert aside.read_bytes() == raw
    file.write([(b"k" * 32, KEPT)], [])
    file.close()
    again, aside = open_cache(path)
    assert aside is None
    assert again.get(b"k" * 32) == KEPT
    again.close()


def test_a_file_that_turned_out_to_be_damaged_is_moved_once(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    first, second = CacheFile(path), CacheFile(path)
    inode = first.inode
    new, aside = open_cache(path, damaged=inode)
    assert aside is not None
    assert new.inode != inode
    same, aside = open_cache(path, damaged=second.inode)  # another process found out too
    assert aside is None
    assert same.inode == new.inode
    for each in (first, second, new, same):
        each.close()


def test_a_damaged_file_that_many_find_is_moved_once(tmp_path: Path) -> None:
    for attempt in range(5):
        path = tmp_path / f"{attempt}.sqlite3"
        path.write_bytes(b"nonsense" * 1000)
        together = threading.Barrier(6)
        asides: list[Path | None] = []

        def opened(path: Path = path, together: Any = together, asides: Any = asides) -> None:
            together.wait()
            file, aside = open_cache(path)
            asides.append(aside)
            file.close()

        threads = [threading.Thread(target=opened) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(aside is not None for aside in asides) == 1
        assert len(asides) == 6
        assert len(list(tmp_path.glob(f"{attempt}.sqlite3.damaged-*"))) == 1


def test_a_file_of_another_layout_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    CacheFile(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    raw = path.read_bytes()
    with pytest.raises(InputError) as caught:
        open_cache(path)
    assert "in the layout 7; this version reads and writes 1" in str(caught.value)
    assert "skinflow judge cache clear --yes" in str(caught.value)
    assert path.read_bytes() == raw
    assert is_ours(path)
    remove(path)
    open_cache(path)[0].close()


@pytest.mark.parametrize("marked", [0, 0x0F055112])  # with nothing, and with another program's number
def test_a_database_of_another_program_is_left_alone(tmp_path: Path, marked: int) -> None:
    path = tmp_path / "theirs.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id = {marked}")
    connection.execute("CREATE TABLE patients (name TEXT)")
    connection.execute("INSERT INTO patients VALUES ('somebody')")
    connection.commit()
    connection.close()
    raw = path.read_bytes()
    with pytest.raises(InputError, match="is a database of another program") as caught:
        open_cache(path)
    assert "name another file" in str(caught.value)
    assert path.read_bytes() == raw
    assert not is_ours(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["theirs.sqlite3"]


def test_a_file_that_is_no_database_and_has_another_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("a,b\n" * 1000)
    with pytest.raises(InputError, match=r"is no file of judges' answers"):
        open_cache(path)
    assert path.read_text() == "a,b\n" * 1000


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite3"
    path.touch()
    file, aside = open_cache(path)
    assert aside is None
    assert file.get(b"k") is None
    file.close()


@pytest.mark.parametrize("place", ["folder", "below a file", "/proc/judge.sqlite3"])
def test_places_where_no_file_can_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    path = {"folder": tmp_path, "below a file": tmp_path / "file" / "judge.sqlite3"}.get(place, Path(place))
    with pytest.raises((OSError, sqlite3.OperationalError)):
        open_cache(path)

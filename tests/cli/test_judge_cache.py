"""`skinflow judge cache list|prune|clear`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.judging.cache_file import CacheFile, Kept

Run = Callable[..., Any]
DAY = 86400.0


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual file, with ten answers of two models; answer n was last used n days ago."""
    monkeypatch.setenv("SKINFLOW_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cache" / "judge.sqlite3"
    now = time.time()
    cache = CacheFile(path)
    cache.write(
        [
            (
                bytes([number]) * 32,
                Kept("four", "large" if number < 3 else "small", "verdicts", 1, 1, now, now - number * DAY),
            )
            for number in range(10)
        ],
        [],
    )
    cache.close()
    return path


def test_listing(skinflow: Run, file: Path) -> None:
    done = skinflow("judge", "cache", "list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{file}: 10 answers, 0.")
    assert lines[2].split()[:4] == ["model", "prompt", "answers", "characters"]
    assert lines[3].split()[:4] == ["small", "verdicts", "7", "28"]
    assert lines[4].split()[:4] == ["large", "verdicts", "3", "12"]


def test_listing_what_is_not_there(skinflow: Run, file: Path, tmp_path: Path) -> None:
    done = skinflow("judge", "cache", "list", "--file", tmp_path / "other.sqlite3")
    assert (done.code, done.out) == (0, f"{tmp_path / 'other.sqlite3'}: 0 answers, 0.0 MB\n")
    assert not (tmp_path / "other.sqlite3").exists()


def test_pruning(skinflow: Run, file: Path) -> None:
    done = skinflow("judge", "cache", "prune", "--older-than", 5.5)
    assert done.code == 0
    assert done.out.startswith(f"{file}: 4 answers removed; 6 answers left, ")
    done = skinflow("judge", "cache", "prune", "--model", "large")
    assert "3 answers removed; 3 answers left" in done.out
    done = skinflow("judge", "cache", "prune", "--max-mb", 0)
    assert "3 answers removed; 0 answers left" in done.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "give --older-than DAYS, --model NAME or --max-mb N"),
        (("--older-than", "-1"), "--older-than: found -1.0; expected 0 or more"),
        (("--max-mb", "nan"), "--max-mb: found nan; expected 0 or more"),
        (("--model", "lage"), "did you mean 'large'?"),
        (("--file", "off"), '"off" is no file of answers'),
    ],
)
def test_pruning_amiss(skinflow: Run, file: Path, arguments: tuple[str, ...], complaint: str) -> None:
    if "off" in arguments:
        arguments = (*arguments, "--max-mb", "1")
    done = skinflow("judge", "cache", "prune", *arguments)
    assert done.code == 2
    assert complaint in done.err
    assert "10 answers" in skinflow("judge", "cache", "list").out


def test_clearing_asks(skinflow: Run, file: Path) -> None:
    done = skinflow("judge", "cache", "clear")
    assert done.code == 2
    assert "say so with --yes" in done.err
    assert "10 answers" in skinflow("judge", "cache", "list").out
    done = skinflow("judge", "cache", "clear", "--yes")
    assert (done.code, done.out) == (0, f"{file}: 10 answers removed\n")
    assert "0 answers" in skinflow("judge", "cache", "list").out


def test_a_file_of_another_program(skinflow: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" * 100)
    for verb in (("list",), ("clear", "--yes"), ("prune", "--max-mb", "1")):
        done = skinflow("judge", "cache", *verb, "--file", tmp_path / "a.csv")
        assert done.code == 2
        assert "is no file of judges' answers; nothing was changed" in done.err
    assert (tmp_path / "a.csv").read_text() == "a,b\n" * 100

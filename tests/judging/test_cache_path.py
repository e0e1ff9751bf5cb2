from pathlib import Path

import pytest

from skinflow_plugins.judging import cache_path


def test_the_folder_of_the_environment_then_that_of_xdg_then_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SKINFLOW_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_path(None) == tmp_path / "ours" / "judge.sqlite3"
    monkeypatch.delenv("SKINFLOW_CACHE")
    assert cache_path(None) == tmp_path / "xdg" / "skinflow" / "judge.sqlite3"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_path(None) == tmp_path / "home" / ".cache" / "skinflow" / "judge.sqlite3"
    assert cache_path("~/a.sqlite3") == tmp_path / "home" / "a.sqlite3"


def test_a_file_of_its_own_or_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert cache_path("a/b.sqlite3") == tmp_path / "a" / "b.sqlite3"
    assert cache_path("off") is None

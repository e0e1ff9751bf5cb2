"""Whose folder it is, who works in it, and what is left of somebody who was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.workspace import PACKAGES, differences, open_workspace
from skinflow_plugins.errors import InputError

RECIPE: dict[str, Any] = {
    "name": "a",
    "model": {"base": "tiny:llava"},
    "stages": [{"name": "x", "swift": {}}],
}


def claim(root: Path, document: dict[str, Any] = RECIPE) -> None:
    with open_workspace(root, document):
        pass


def content(root: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "run.lock")
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_new_folder_is_claimed_with_recipe_and_environment(tmp_path: Path) -> None:
    root = tmp_path / "runs" / "a"
    with open_workspace(root, RECIPE) as workspace:
        assert not workspace.done("1-x")
        workspace.finish("1-x", {"seconds": 1.5, "resumed": False})
        assert workspace.done("1-x")
        assert workspace.seconds("1-x") == 1.5
    assert json.loads((root / "run.json").read_text())["recipe"] == RECIPE
    environment = json.loads((root / "environment.json").read_text())
    assert set(environment["packages"]) <= set(PACKAGES)
    assert environment["packages"]["ms-swift"].startswith("4.6")
    before = content(root)
    claim(root)
    assert content(root) == before


def test_another_recipes_run_names_what_differs(tmp_path: Path) -> None:
    root = tmp_path / "run"
    claim(root)
    before = content(root)
    other = {
        **RECIPE,
        "model": {"base": "tiny:gemma3"},
        "stages": [{"name": "x", "swift": {"beta": 1}}],
        "seed": 1,
    }
    with pytest.raises(InputError, match="run of another recipe") as info:
        claim(root, other)
    assert "differs in model.base, seed, stages[0].swift.beta" in str(info.value)
    assert str(root) in str(info.value)
    assert content(root) == before


def test_differences() -> None:
    assert differences({"a": [1, 2]}, {"a": [1, 3]}) == ["a[1]"]
    assert differences({"a": [1, 2]}, {"a": [1]}) == ["a"]
    assert differences({"a": {"b": 1}}, {"a": {"c": 1}}) == ["a.b", "a.c"]
    assert differences(RECIPE, json.loads(json.dumps(RECIPE))) == []


@pytest.mark.parametrize("name", ["thesis.txt", "run.json"])
def test_a_foreign_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no run of ours"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_an_empty_folder_is_welcome(tmp_path: Path) -> None:
    claim(tmp_path)
    assert (tmp_path / "run.json").is_file()


@pytest.mark.parametrize("below", ["", "run", "deeper/run"])
def test_a_path_at_or_below_a_file(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="is a file, not a folder") as info:
        claim(file / below if below else file)
    assert str(file) in str(info.value)
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        claim(tmp_path / "run")


def test_permission_is_asked_for_even_where_root_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written to"):
        claim(tmp_path / "run")
    assert not (tmp_path / "run").exists()


HOLD = """
import sys, time
from pathlib import Path
from skinflow_plugins.bridge.workspace import open_workspace
with open_workspace(Path(sys.argv[1]), eval(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    root = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), repr(RECIPE)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = content(root)
        with pytest.raises(InputError, match="another skinflow run works in this folder"):
            claim(root)
        assert content(root) == before
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        claim(root)
    finally:
        holder.kill()
        holder.communicate()


def fail_in(root: Path, made: str, message: str) -> None:
    with open_workspace(root, RECIPE):
        (root / made).mkdir(parents=True)
        raise InputError(message)


def test_wrong_input_found_later_leaves_no_claim(tmp_path: Path) -> None:
    """Somebody with a bad image mends the recipe and types the same command again."""
    root = tmp_path / "run"
    with pytest.raises(InputError, match="bad image"):
        fail_in(root, "records", "bad image")
    assert not root.exists()


def test_wrong_input_never_takes_a_trained_stage_away(tmp_path: Path) -> None:
    root = tmp_path / "run"
    with pytest.raises(InputError, match="too late"):
        fail_in(root, "stages/1-x", "too late")
    assert (root / "stages" / "1-x").is_dir()
    with pytest.raises(InputError, match="again"):
        fail_in(root, "records", "again")
    assert (root / "run.json").is_file()


def test_what_trains_nothing_may_change(tmp_path: Path) -> None:
    """Alarms, and where the judge lives: a run that they stopped goes on in its folder."""
    root = tmp_path / "run"
    judge = {"model": "m", "runs": 1, "endpoint": "http://127.0.0.1:1/v1", "deadline": 60}
    with open_workspace(root, {**RECIPE, "alarms": {"stop_on": ["length"]}, "judge": judge}):
        pass
    moved = {**RECIPE, "judge": {**judge, "endpoint": "http://127.0.0.1:2/v1", "deadline": 5}}
    with open_workspace(root, moved):
        pass
    assert json.loads((root / "run.json").read_text())["recipe"] == moved  # what is in force now
    with (
        pytest.raises(InputError, match=r"differs in judge\.model"),
        open_workspace(root, {**moved, "judge": {**judge, "model": "other"}}),
    ):
        pass

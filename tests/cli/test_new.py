"""`skinflow new reward`: the written package installs and passes its own test; wrong input writes nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment of its own, which also sees everything that ours has."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    inside = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=inside))
    ours = sysconfig.get_path("purelib")
    # addsitedir, because an editable installation is itself a .pth file
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return folder / "bin" / "python"


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_package_installs_and_its_test_passes(
    skinflow: Callable[..., Any], python: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "my package"
    done = skinflow("new", "reward", "asks_for_biopsy", folder)
    assert (done.code, done.err) == (0, "")
    wrote = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert wrote == {
        "README.md",
        "pyproject.toml",
        "src/skinflow_asks_for_biopsy.py",
        "tests/test_asks_for_biopsy.py",
    }
    assert f"pip install -e '{folder}'" in done.out

    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    run(python, "-m", "pip", "install", *alone, "-e", folder)
    assert "4 passed" in run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder)
    listed = run(python, "-m", "skinflow_plugins.cli", "list", "rewards")
    assert re.search("^asks_for_biopsy +skinflow-asks-for-biopsy +1 when the answer is", listed, re.MULTILINE)
    ruff = ["check", "--isolated", "--select", "E,F,W,I,UP,B,D1", "--line-length", "110"]
    run(
        sys.executable,
        "-m",
        "ruff",
        *ruff,
        "--config",
        "lint.isort.known-first-party=['skinflow_plugins']",
        folder / "src",
    )


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("My-Reward", "'My-Reward' cannot name a reward", "digits and underscores: my_reward"),
        ("2nd", "'2nd' cannot name a reward", "nd"),
        ("class", "'class' cannot name a reward: it means something else", "class_reward"),
        ("reward", "'reward' cannot name a reward: it means something else", "reward_reward"),
        ("format", "there is a reward 'format' already, from skinflow-plugins", "skinflow show format"),
        ("plugins", "the package would be called skinflow_plugins", "plugins_reward"),
    ],
)
def test_bad_names(name: str, message: str, hint: str, skinflow: Callable[..., Any]) -> None:
    done = skinflow("new", "reward", name, "there")
    assert (done.code, done.out) == (2, "")
    assert message in done.err.splitlines()[0]
    assert hint in done.err.splitlines()[1]
    assert not Path("there").exists()


def test_a_folder_with_something_in_it_stays_as_it_is(skinflow: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    done = skinflow("new", "reward", "mine", tmp_path / "full")
    assert done.code == 2
    assert f"{tmp_path / 'full'}: the folder is not empty" in done.err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_every_mistake_at_once(skinflow: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = skinflow("new", "reward", "No Good", tmp_path / "file")
    assert done.err.startswith("skinflow: 2 problems\n")

"""The command line as a function, and a folder with the third-party packages installed."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli import main

THIRD_PARTY = Path(__file__).parents[1] / "third_party"


@dataclass(frozen=True)
class Done:
    """What a command line gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def skinflow(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """Runs `skinflow ARGUMENTS` in this process, from an empty working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    before = dict(os.environ)
    with warnings.catch_warnings():
        yield run
    os.environ.clear()  # the object may be another one by now: `datasets` replaces it by a copy
    os.environ.update(before)
    logging.getLogger("swift").filters.clear()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed both third-party packages; the environment stays as it is."""
    folder = tmp_path_factory.mktemp("third_party")
    sources = folder / "sources"  # copies, because a build leaves its traces beside the sources
    shutil.copytree(THIRD_PARTY, sources, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    alone = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
    packages = sorted(str(path) for path in sources.iterdir())
    done = subprocess.run([*pip, *alone, *packages], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture
def third_party(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This process with the third-party packages, for the length of a test."""
    monkeypatch.syspath_prepend(str(site))
    catalogue.cache_clear()
    yield site
    catalogue.cache_clear()
    ours = ("skinflow_hedging", "skinflow_broken", "skinflow_family")
    for name in [name for name in sys.modules if name.startswith(ours)]:
        del sys.modules[name]

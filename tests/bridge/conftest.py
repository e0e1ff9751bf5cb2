"""What the tests of the bridge share: a recipe that really trains in seconds, and one run of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge import results
from skinflow_plugins.catalogue import Catalogue, catalogue
from skinflow_plugins.recipe.check import checked
from skinflow_plugins.recipe.load import Loaded, load

TINY = Path(__file__).with_name("tiny.yaml")
"""A recipe of three stages with few records, few steps and a small model."""


@dataclass(frozen=True)
class Finished:
    """A whole run inside this process: its folder, its table, and what it said."""

    root: Path
    rows: Sequence[results.Row]
    said: Sequence[str]


@pytest.fixture(scope="session")
def tiny() -> Path:
    return TINY


@pytest.fixture(scope="session")
def read() -> Callable[..., tuple[Loaded, Catalogue]]:
    """The tiny recipe with these overrides, checked."""

    def read_recipe(*overrides: str) -> tuple[Loaded, Catalogue]:
        loaded = load(TINY, overrides)
        checked(loaded, catalogue())
        return loaded, catalogue()

    return read_recipe


@pytest.fixture(scope="session")
def swift() -> Iterator[None]:
    """swift in this process, offline, with as many threads as the child processes of the tests have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, read: Callable[..., tuple[Loaded, Catalogue]], swift: None
) -> Finished:
    """The tiny recipe, run to its end inside this process."""
    from skinflow_plugins.bridge.run import run

    root = tmp_path_factory.mktemp("finished") / "run"
    said: list[str] = []
    return Finished(root, run(*read(), root, said.append), said)


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start `skinflow ARGUMENTS` as a process group of its own; its output goes to the file `log`."""

    def start_process(*arguments: object, log: Path, **options: Any) -> subprocess.Popen[str]:
        with log.open("w") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "skinflow_plugins.cli", *map(str, arguments)],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                **options,
            )

    return start_process

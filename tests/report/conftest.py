"""A whole report and a whole run, for the tests of the page and of the model card."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def load(name: str) -> Any:
    """A helper beside this file: in importlib mode no folder of tests/ can be imported from."""
    spec = importlib.util.spec_from_file_location(f"report_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


answers, reports, runs = load("example_answers"), load("example_report"), load("example_run")


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    return tuple(answers.HOSTILE)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A whole report.json; its images lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("images")
    found: dict[str, Any] = reports.document(answers.HOSTILE, answers.examples(folder))
    return found


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    found: Callable[..., Path] = runs.write_run
    return found

"""Trainings to watch."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.monitoring import Alarm, AlarmSettings, Monitor

HERE = Path(__file__).parent


def load(name: str) -> Any:
    """A helper beside this file: in importlib mode no folder of tests/ can be imported from."""
    spec = importlib.util.spec_from_file_location(f"monitoring_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


trainings = load("example_training")


def watched(settings: AlarmSettings | None = None, **how: Any) -> list[Alarm]:
    """Every alarm that a monitor raises over a training."""
    training, monitor = trainings.Training(**how), Monitor(settings)
    raised = []
    for lines in training:
        raised += monitor.add(lines, training.evaluations, trainings.WEIGHTS)[1]
    return raised


@pytest.fixture
def watch() -> Callable[..., list[Alarm]]:
    return watched


@pytest.fixture
def training() -> type[Any]:
    found: type[Any] = trainings.Training
    return found


@pytest.fixture
def weights() -> dict[str, float]:
    return dict(trainings.WEIGHTS)

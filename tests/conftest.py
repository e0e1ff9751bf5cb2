"""Options of the whole test suite, and its tests of vLLM."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine and nothing of the code.
settings.register_profile("skinflow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("skinflow")


@pytest.fixture(autouse=True)
def answers_of_judges(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No test reads or writes the user's file of kept answers, nor that of another test."""
    folder = tmp_path_factory.getbasetemp() / "judges" / str(next(_numbers))
    monkeypatch.setenv("SKINFLOW_CACHE", str(folder))
    yield
    if cache := sys.modules.get("skinflow_plugins.judging.cache"):
        cache.forget_caches()


_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C works in here and in child processes, even where a shell started the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write the golden plans of tests/recipe/golden anew instead of comparing with them",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` never gets here without vLLM; a plain `pytest` in .venv does."""
    if find_spec("vllm") is not None:
        return
    skip = pytest.mark.skip(
        reason="vLLM is not installed here; `make test-vllm` runs this test in .venv-vllm"
    )
    for item in items:
        if item.get_closest_marker("vllm"):
            item.add_marker(skip)

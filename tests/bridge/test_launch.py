"""swift as a process and swift inside ours: environment, failures, and what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from skinflow_plugins.bridge.launch import launch
from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.recipe.schema import Launch

PROCESS, INLINE = Launch("process"), Launch("inline")


class Program:
    """Stands in for the `swift` program: notes the call, returns a code."""

    def __init__(self, code: int = 0) -> None:
        self.code, self.argv, self.environment = code, list[str](), dict[str, str]()

    def __call__(self, argv: Sequence[str], *, env: Mapping[str, str], check: bool) -> Any:
        self.argv, self.environment = list(argv), dict(env)
        return SimpleNamespace(returncode=self.code)


def test_a_process_gets_file_environment_and_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    monkeypatch.setattr(subprocess, "run", program)
    monkeypatch.setenv("KEPT", "yes")
    monkeypatch.delenv("NPROC_PER_NODE", raising=False)
    launch(PROCESS, "sft", ["1-a.yaml"], {"SKINFLOW_STAGE": "s.json"}, what="stage 1-a")
    assert program.argv == [sys.executable, "-m", "swift.cli.main", "sft", "1-a.yaml"]
    wanted = {"KEPT": "yes", "SKINFLOW_STAGE": "s.json", "SKINFLOW_PARENT": str(os.getpid())}
    assert wanted.items() <= program.environment.items()
    assert "NPROC_PER_NODE" not in program.environment
    assert "SKINFLOW_STAGE" not in os.environ


def test_several_processes_are_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    monkeypatch.setattr(subprocess, "run", program)
    launch(Launch("process", 4), "rlhf", ["2-b.yaml"], {}, what="stage 2-b")
    assert program.environment["NPROC_PER_NODE"] == "4"


def test_a_process_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", Program(3))
    with pytest.raises(WorkFailed, match="stage 2-b: swift rlhf ended with exit code 3"):
        launch(PROCESS, "rlhf", ["2-b.yaml"], {}, what="stage 2-b")


@pytest.fixture
def mains(monkeypatch: pytest.MonkeyPatch, swift: None) -> Any:
    """swift's main functions, replaced; `mains.do` is what they do."""
    import swift.pipelines as pipelines

    from skinflow_plugins.bridge import register

    box = SimpleNamespace(do=lambda argv: None)
    for name in ("sft_main", "rlhf_main", "infer_main"):
        monkeypatch.setattr(pipelines, name, lambda argv: box.do(argv))
    monkeypatch.setattr(register, "register", lambda: None)
    return box


@pytest.mark.slow
def test_inline_gets_the_environment_for_a_while(mains: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLD", "before")
    monkeypatch.delenv("NEW", raising=False)
    seen: list[Any] = []
    mains.do = lambda argv: seen.append((argv, os.environ["OLD"], os.environ["NEW"]))
    launch(INLINE, "rlhf", ("--a", "1"), {"OLD": "during", "NEW": "too"}, what="stage")
    assert seen == [(["--a", "1"], "during", "too")]
    assert os.environ["OLD"] == "before"
    assert "NEW" not in os.environ


@pytest.mark.slow
def test_inline_failures(mains: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEW", raising=False)

    def fail(error: Exception) -> None:
        raise error

    mains.do = lambda argv: fail(KeyError("nope"))
    with pytest.raises(WorkFailed, match=r"stage 1-a: swift sft failed: KeyError: 'nope'") as info:
        launch(INLINE, "sft", [], {"NEW": "x"}, what="stage 1-a")
    assert isinstance(info.value.__cause__, KeyError)
    assert "NEW" not in os.environ
    mains.do = lambda argv: fail(InputError("our own"))
    with pytest.raises(InputError, match="our own"):
        launch(INLINE, "sft", [], {}, what="stage 1-a")

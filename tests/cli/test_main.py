"""The frame of the command line: help, misspellings, exit codes, what is imported and how long it takes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.cli import parser
from skinflow_plugins.errors import InputError, Problem, WorkFailed

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("skinflow")
HEAVY = "{'torch', 'swift', 'transformers'}"
INNER = {"data": "data check", "new": "new reward"}
VERBS = [INNER.get(verb, verb) for verb in parser.verbs()]


def test_the_program_prints_its_verbs() -> None:
    done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True)
    for verb in parser.verbs():
        assert re.search(rf"^    {verb} +\S", done.stdout, re.MULTILINE)
    assert "Exit codes: 0 done, 1 the work failed, 2 the input was wrong." in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_text(verb: str, skinflow: Callable[..., Any]) -> None:
    done = skinflow(*verb.split(), "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: skinflow {verb}")


def test_the_version(skinflow: Callable[..., Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", skinflow("--version").out)


def test_no_verb_is_wrong_input_and_shows_the_help(skinflow: Callable[..., Any]) -> None:
    done = skinflow()
    assert done.code == 2
    assert "usage: skinflow" in done.err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["rnu"], "skinflow: unknown verb 'rnu'; did you mean 'run'?"),
        (["new", "rewrd", "x", "y"], "skinflow new: unknown verb 'rewrd'; did you mean 'reward'?"),
        (["list", "reward"], "skinflow list: unknown kind 'reward'; did you mean 'rewards'?"),
        (
            ["run", "quickstart", "--otput=x"],
            "skinflow run: unknown option '--otput'; did you mean '--output'?",
        ),
        (["plan"], "skinflow plan: the following arguments are required: RECIPE, KEY=VALUE"),
        (["plugin", "x"], "skinflow plugin: too many arguments: x"),
    ],
)
def test_misspellings_get_the_nearest_name(
    typed: list[str], message: str, skinflow: Callable[..., Any]
) -> None:
    done = skinflow(*typed)
    assert done.code == 2
    assert done.out == ""
    assert done.err.splitlines()[0] in (message, message.removesuffix(", KEY=VALUE"))
    assert re.fullmatch(r"    see `skinflow( \w+)? --help`", done.err.splitlines()[1])


def failing(error: BaseException) -> Callable[..., None]:
    def run(*_: Any) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (WorkFailed("stage 1 stopped"), 1, "skinflow: stage 1 stopped\n"),
        (InputError("the folder is not ours"), 2, "skinflow: the folder is not ours\n"),
        (
            InputError([Problem("is missing", "a.yaml", 3, "data.train", "add it"), Problem("is empty")]),
            2,
            "skinflow: 2 problems\n\n  1. a.yaml:3: data.train: is missing\n     add it\n\n  2. is empty\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "\nskinflow: interrupted; the same command goes on from the last checkpoint\n",
        ),
    ],
)
def test_errors_are_messages_and_exit_codes(
    error: BaseException,
    code: int,
    text: str,
    skinflow: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("skinflow_plugins.bridge.run.run", failing(error))
    done = skinflow("run", "quickstart")
    assert (done.code, done.err) == (code, text)


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{PROGRAM} show quickstart | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "recipe quickstart, from skinflow-plugins\n"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "budget"), [(["--help"], 0.4), (["validate", "quickstart"], 2.5)], ids=["help", "validate"]
)
def test_is_fast_and_imports_nothing_heavy(typed: list[str], budget: float) -> None:
    code = (
        "import sys; from skinflow_plugins.cli import main\n"
        f"code = main({typed!r}); heavy = {HEAVY} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else code)"
    )
    seconds = []
    for _ in range(4):  # the machine may be busy with something else for a moment
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
        if seconds[-1] < budget:
            return
    pytest.fail(f"{typed} took {', '.join(f'{s:.2f}' for s in seconds)} s; the budget is {budget} s")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_run_by_a_test(verb: str) -> None:
    call = "skinflow(" + ", ".join(f'"{word}"' for word in verb.split())
    tests = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    assert any(call in text for text in tests), f"no test in tests/cli says {call}"


@pytest.mark.parametrize("verb", VERBS)
def test_the_readme_documents_every_verb(verb: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"skinflow {verb}" in text, f"README.md does not mention `skinflow {verb}`"

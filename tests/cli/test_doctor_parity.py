"""`skinflow doctor --parity`: what it says where there is nothing to compare, and of what was compared."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.rollouts import look
from skinflow_plugins.bridge.rollouts.parity import Difference, Parity
from skinflow_plugins.bridge.rollouts.watch import REPORT_VARIABLE
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli import doctor_parity
from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.recipe import load
from skinflow_plugins.recipe.schema import Launch, Recipe

TINY = Path(__file__).parents[1] / "bridge" / "tiny.yaml"
VLLM = ("rollouts.engine=vllm", "launch.mode=process")
EQUAL = Parity(
    4, 60, "", "4 images", 1e-4, Difference(2e-6, 1e-6), Difference(2e-6, 1e-6), Difference(0.5, 0.25)
)
STALE = dataclasses.replace(EQUAL, after=Difference(0.5, 0.25))
Skinflow = Callable[..., Any]


def recipe(*overrides: str) -> Recipe:
    return load(TINY, overrides).recipe


def lines(*overrides: str) -> list[str]:
    """The findings about a recipe."""
    return [str(each) for each in doctor_parity.findings(recipe(*overrides), catalogue())]


# --- the findings -----------------------------------------------------------------------------------------


def test_nothing_to_compare(skinflow: Skinflow) -> None:
    done = skinflow("doctor", TINY, "--parity", "--no-step")
    assert done.code == 1
    assert (
        "problem  parity: the recipe has no stage that samples with vLLM, so there is nothing to compare\n"
        "         add rollouts.engine=vllm to a recipe with a grpo stage\n"
    ) in done.out
    assert "a problem would stop a run" in done.out
    assert "parity:" not in skinflow("doctor", TINY, "--no-step").out


def test_a_recipe_that_only_teaches() -> None:
    (line,) = lines(*VLLM, "stages.caption=null", "stages.diagnosis=null")
    assert line.startswith("problem  parity: the recipe has no stage that samples with vLLM")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch, skinflow: Skinflow) -> Callable[[Any], list[Any]]:
    """`looked(outcome)`: as if a stage had been started, with this outcome; notes what was asked for."""

    def stand_in(outcome: Any) -> list[Any]:
        asked: list[Any] = []

        def instead(found: Recipe, known: Any, stage: Any, records: Any, root: Path, say: Any) -> Parity:
            assert root.is_dir()
            asked.append((stage.name, len(records) > 0, root))
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(look, "look", instead)
        return asked

    return stand_in


def test_trainer_and_engine_agree(looked: Any) -> None:
    asked = looked(EQUAL)
    assert lines(*VLLM) == [f"ok       parity: stage caption from the base model; {EQUAL.summary()}"]
    ((name, some, root),) = asked
    assert (name, some) == ("caption", True)  # the first that samples, with real rows
    assert not root.exists()


def test_they_do_not(looked: Any) -> None:
    looked(STALE)
    first, second = lines(*VLLM)
    assert first == f"ok       parity: stage caption from the base model; {STALE.summary()}"
    assert second == f"problem  parity: {STALE.problems()[0]}"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            WorkFailed("the parity check: swift rlhf failed\n    last words"),
            ["problem  parity: the parity check: swift rlhf failed\n         last words"],
        ),
        (
            InputError([Problem("no vLLM", path="rollouts.engine", hint="install it"), Problem("two")]),
            ["problem  parity: rollouts.engine: no vLLM\n         install it", "problem  parity: two"],
        ),
    ],
    ids=["failed", "input"],
)
def test_a_stage_that_cannot_be_started(error: Exception, expected: list[str], looked: Any) -> None:
    asked = looked(error)
    assert lines(*VLLM) == expected
    assert not asked[0][2].exists()


# --- the stage that is started ------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """`started(report)`: swift is not started, but leaves this report; notes how it would have been."""

    def stand_in(report: Mapping[str, Any] | None, fails: bool = False) -> list[Any]:
        calls: list[Any] = []

        def launch(how: Launch, command: str, argv: Any, environment: Any, *, what: str) -> None:
            calls.append((how, command, list(argv), dict(environment), what))
            os.write(1, b"\nloading\n\n")
            os.write(2, b"  the last words  \n")
            if report is not None:
                Path(environment[REPORT_VARIABLE]).write_text(json.dumps(report))
            if fails:
                raise WorkFailed(f"{what}: swift rlhf ended with exit code 1")

        monkeypatch.setattr(look, "launch", launch)
        monkeypatch.setattr(
            look, "reach", lambda recipe, stage, say: (recipe.launch, [], {"MASTER_PORT": "7"})
        )
        return calls

    return stand_in


def run(root: Path, *overrides: str, stage: str = "diagnosis") -> Parity:
    from skinflow_plugins.bridge.prepare import source_records

    found = recipe(*VLLM, "data={train: 12, validation: 2, test: 2}", *overrides)
    records = source_records(found, catalogue(), root)
    return look.look(found, catalogue(), found.stage(stage), records, root, lambda _: None)


def test_one_stage_from_the_base_for_nothing_but_the_report(started: Any, tmp_path: Path) -> None:
    """A later one too: what its predecessors leave, and what it replays of them, is not there."""
    calls = started(EQUAL.as_json())
    assert run(tmp_path, "stages.diagnosis.init=warmup") == EQUAL
    ((how, command, argv, environment, what),) = calls
    assert (how.mode, command, what) == ("process", "rlhf", "the parity check")
    assert argv == [str(tmp_path / "1-diagnosis.yaml")]
    text = (tmp_path / "1-diagnosis.yaml").read_text()
    assert f"model: {tmp_path}/base\n" in text
    assert (tmp_path / "base" / "config.json").is_file()
    assert environment["MASTER_PORT"] == "7"
    assert environment[REPORT_VARIABLE] == str(tmp_path / "parity.json")
    assert environment["MODELSCOPE_CACHE"] == str(tmp_path / "cache")
    assert environment["SKINFLOW_STAGE"] == str(tmp_path / "1-diagnosis.skinflow.json")


def test_sharded_weights_have_no_second_look(started: Any, tmp_path: Path) -> None:
    sharded = dataclasses.replace(EQUAL, after=None, moved=None)
    started(sharded.as_json())
    assert run(tmp_path) == sharded


def test_a_failure_comes_with_its_last_words(
    started: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started(None, fails=True)
    with pytest.raises(WorkFailed) as info:
        run(tmp_path)
    expected = "the parity check: swift rlhf ended with exit code 1\n    loading\n    the last words"
    assert str(info.value) == expected
    assert capfd.readouterr().out == ""


def test_no_report_is_a_failure(started: Any, tmp_path: Path) -> None:
    started(None)
    with pytest.raises(WorkFailed, match=r"the parity check left no report\n    loading\n    the last words"):
        run(tmp_path)


# --- the output of the stage ------------------------------------------------------------------------------


def as_a_program(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    """Python's streams write to the descriptors 1 and 2, as those of pytest do not; what went there."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        monkeypatch.setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115

    def shown() -> tuple[str, str]:
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfd.readouterr()
        return out, err

    return shown


def test_output_goes_to_a_file_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = as_a_program(monkeypatch, capfd)
    code = "import sys; print('child'); print('its error', file=sys.stderr)"
    descriptors = set(os.listdir("/proc/self/fd"))
    print("before")
    with look._output_to(tmp_path / "log"):
        print("ours")
        print("our error", file=sys.stderr)
        subprocess.run([sys.executable, "-c", code], check=True)
    print("after")
    print("error after", file=sys.stderr)
    assert shown() == ("before\nafter\n", "error after\n")
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["child", "its error", "our error", "ours"]
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_output_comes_back_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = as_a_program(monkeypatch, capfd)

    def fail() -> None:
        with look._output_to(tmp_path / "log"):
            print("ours")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    print("after")
    assert shown() == ("after\n", "")
    assert (tmp_path / "log").read_text() == "ours\n"


def test_the_last_lines_that_say_something(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"1\n\n  2 \n\xff\n" + b"\n".join(b"%d" % n for n in range(9)))
    assert look._end_of(tmp_path / "log") == "\n    ".join("12345678")
    assert look._end_of(tmp_path / "log", lines=2) == "7\n    8"
    (tmp_path / "log").write_text("")
    assert look._end_of(tmp_path / "log") == ""

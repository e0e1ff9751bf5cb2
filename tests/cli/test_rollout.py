"""`skinflow rollout`: who needs no server, and what `swift rollout` is told for a recipe that does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge import child
from skinflow_plugins.bridge.rollouts import start
from skinflow_plugins.bridge.rollouts.start import OF_THE_MODEL, server_argv
from skinflow_plugins.bridge.workspace import open_workspace
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe import load
from skinflow_plugins.recipe.plan import Plan, plan
from skinflow_plugins.recipe.rollouts import NO_PLACEHOLDERS
from skinflow_plugins.recipe.swift_arguments import arguments

TINY = Path(__file__).parents[1] / "bridge" / "tiny.yaml"
SERVER = "rollouts={engine: vllm, mode: server}"
Skinflow = Callable[..., Any]


def planned(*overrides: str) -> Plan:
    recipe = load(TINY, [SERVER, *overrides]).recipe
    return plan(recipe, catalogue(), root=Path("/RUN"), plugin="/PLUGIN/plugin.py")


def told(argv: Sequence[str]) -> dict[str, list[str]]:
    """Values by the name of the argument."""
    found: dict[str, list[str]] = {}
    for word in argv:
        if word.startswith("--"):
            assert word[2:] not in found, f"{word} stands twice"
            values = found[word[2:]] = []
        else:
            values.append(word)
    return found


def test_help(skinflow: Skinflow) -> None:
    done = skinflow("rollout", "--help")
    assert done.code == 0
    for expected in ("usage: skinflow rollout", "rollouts: {engine: vllm, mode: server}", "until Ctrl-C"):
        assert expected in done.out
    assert "runs/NAME, with the recipe's name" in " ".join(done.out.split())
    assert "rollout" in skinflow("--help").out


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ((), "the recipe samples with transformers, colocate"),
        (("rollouts.engine=vllm", "launch.mode=process"), "the recipe samples with vllm, colocate"),
    ],
)
def test_a_recipe_without_a_server(overrides: tuple[str, ...], found: str, skinflow: Skinflow) -> None:
    done = skinflow("rollout", TINY, *overrides)
    assert done.code == 2
    assert f"rollouts: {found}" in done.err
    assert "add rollouts.engine=vllm rollouts.mode=server, here and to `skinflow run`" in done.err
    assert not list(Path.cwd().iterdir())


def test_a_wrong_recipe_is_refused_before_anything_is_said(skinflow: Skinflow) -> None:
    done = skinflow("rollout", TINY, SERVER, "rollouts.timeout=0", "rollouts.options={sleep_level: 1}")
    assert (done.code, done.out) == (2, "")
    assert "2 problems" in done.err


# --- what swift is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vision", ["base", "dve"])
def test_the_server_has_the_trainers_model(vision: str) -> None:
    """Its weights come from the trainer: how a row becomes a prompt must be the same."""
    whole = planned(f"model.vision.encoder={vision}", "swift.max_pixels=3136", "swift.max_length=512")
    found = told(server_argv(whole))
    trainer = told(start.argv_of(whole.stages[1].arguments))
    assert found["model"] == ["/RUN/base"]
    for name in ("model_type", "template", "torch_dtype", "external_plugins", "use_hf", "max_pixels"):
        assert found[name] == trainer[name], name
    assert found["max_length"] == ["512"]
    assert found["model_type"] == ["qwen2_5_vl" if vision == "base" else "skinflow_qwen2_5_vl"]
    assert (found["host"], found["port"]) == (["127.0.0.1"], ["8000"])
    assert json.loads(found["vllm_engine_kwargs"][0]) == {"logits_processors": [NO_PLACEHOLDERS]}
    assert json.loads(found["vllm_limit_mm_per_prompt"][0]) == {"image": 1, "video": 0}
    assert found["vllm_enforce_eager"] == ["True"]


def test_swift_knows_every_name() -> None:
    options = (
        "rollouts.options={vllm_data_parallel_size: 2, vllm_server_port: [9000], vllm_server_timeout: 9}"
    )
    found = told(server_argv(planned(options)))
    assert set(found) <= set(arguments("rollout"))
    assert set(OF_THE_MODEL) <= set(arguments("rollout")) & set(arguments("grpo"))
    assert found["vllm_data_parallel_size"] == ["2"]
    assert found["port"] == ["9000"]
    # Of the training nothing, and of the client nothing.
    assert not set(found) & {"dataset", "output_dir", "learning_rate", "vllm_mode", "vllm_server_port"}


def test_a_prompts_form_is_that_of_a_stage_that_samples() -> None:
    """Not of the warm start, which may have a length of its own."""
    found = told(server_argv(planned("stages.warmup.swift.max_length=64", "stages.*.swift.system=short")))
    assert "max_length" not in found
    assert found["system"] == ["short"]


def test_a_recipe_that_samples_nothing(skinflow: Skinflow) -> None:
    gone = ("stages.caption=null", "stages.diagnosis=null", "swift.num_generations=null")
    done = skinflow("rollout", TINY, SERVER, *gone, "swift.max_completion_length=null")
    assert done.code == 2
    assert "no stage of the recipe samples" in done.err


# --- the process ------------------------------------------------------------------------------------------


def test_serving_prepares_the_run_and_tells_where(
    skinflow: Skinflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer may come first or second, and finds the same folder, unlocked."""
    started: list[list[str]] = []
    root = tmp_path / "run"
    monkeypatch.setattr(start, "require_vllm", lambda: None)

    def foreground(argv: Sequence[str]) -> None:
        started.append(list(argv))
        with open_workspace(root, json.loads((root / "run.json").read_text())["recipe"]):
            pass
        raise WorkFailed("the rollout server ended with exit code 3; its own message stands above")

    monkeypatch.setattr(start, "_foreground", foreground)
    done = skinflow("rollout", TINY, SERVER, "rollouts.options={vllm_server_port: [9000]}", "-o", root)
    assert done.code == 1
    assert f"rollout server of tiny at http://127.0.0.1:9000, run folder {root}\n" in done.out
    assert "the rollout server ended with exit code 3" in done.err
    ((verb, *argv),) = started
    assert verb == "rollout"
    assert told(argv)["model"] == [str(root / "base")]
    assert (root / "base" / "config.json").is_file()
    assert (root / "2-caption.yaml").is_file()


STANDS_IN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[2], "w") as file:
    file.write(f"{os.environ['SKINFLOW_PARENT']} {os.getpid()} {child.pid}\\n")
if sys.argv[1] == "quits":
    child.kill()
    child.wait()
    sys.exit(3)
time.sleep(60)
"""


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize("kind", ["quits", "stopped", "stubborn"])
def test_server_and_children_end_with_us(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """swift's server is a process with processes of its own."""
    file, real = tmp_path / "processes", child.start
    monkeypatch.setattr(child, "PATIENCE", 0.5)

    def instead(argv: Sequence[str], environment: Mapping[str, str]) -> Any:
        assert list(argv) == [sys.executable, "-m", "swift.cli.main", "rollout", "--a", "b"]
        return real([sys.executable, "-c", STANDS_IN, kind, str(file)], environment)

    monkeypatch.setattr(child, "start", instead)
    before = signal.getsignal(signal.SIGTERM)
    if kind == "quits":
        with pytest.raises(WorkFailed, match="the rollout server ended with exit code 3; its own message"):
            start._foreground(["rollout", "--a", "b"])
    else:
        ended, main = threading.Event(), threading.get_ident()

        def stop() -> None:
            while not (file.exists() and file.read_text().endswith("\n")) and not ended.wait(0.05):
                pass
            signal.pthread_kill(main, signal.SIGTERM)

        stopper = threading.Thread(target=stop)
        stopper.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                start._foreground(["rollout", "--a", "b"])
        finally:
            ended.set()
            stopper.join()
    parent, *processes = map(int, file.read_text().split())
    assert parent == os.getpid()
    until = time.monotonic() + 5  # init takes the orphans
    while any(map(alive, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    assert [process for process in processes if alive(process)] == []
    assert signal.getsignal(signal.SIGTERM) is before

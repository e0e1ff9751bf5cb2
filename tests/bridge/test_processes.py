"""Two processes (torchrun, gloo, CPU) do what one does; and none of them outlives `skinflow run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins import orphans
from skinflow_plugins.bridge import processes
from skinflow_plugins.bridge.run import run
from skinflow_plugins.errors import WorkFailed

ONE_STAGE = (
    # From the warm start of `finished`, so that greedy answers earn something
    "model.options=null",
    "tasks.diagnosis=null",
    "stages.warmup=null",
    "stages.diagnosis=null",
    "stages.caption.gate=null",
    "stages.caption.swift.max_steps=3",
    "stages.caption.swift.save_steps=3",
    "swift.torch_dtype=float32",
    "swift.fp16=false",
    "swift.bf16=false",
    "swift.dataloader_num_workers=0",
    "swift.gradient_checkpointing=false",
    "swift.top_k=1",  # greedy: what is sampled otherwise depends on who samples it
    "eval.permuted=false",
)


def started_by(process: int) -> list[int]:
    """The processes that `skinflow run` with this id has started, at any depth, and that still live."""
    mark = f"{orphans.PARENT_VARIABLE}={process}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            dead = ") Z " in (folder / "stat").read_text()
        except OSError:
            continue
        if mark in environment and not dead:
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc to find the processes")
def test_two_processes_end_with_their_parent_and_log_what_one_logs(
    finished: Any,
    read: Callable[..., Any],
    tiny: Path,
    start: Callable[..., Any],
    tmp_path: Path,
) -> None:
    base = (finished.root / "stages" / "1-warmup" / "final").resolve()
    alone, pair, log = tmp_path / "alone", tmp_path / "pair", tmp_path / "log"
    stage = [*ONE_STAGE, f"model.base={base}"]
    run(*read(*stage), alone, lambda _: None)

    two = [*stage, "launch.mode=process", "launch.processes=2", "swift.per_device_train_batch_size=4"]
    command = ("run", tiny, "-o", pair, *two)
    process = start(*command, log=log)
    try:
        deadline = time.monotonic() + 600
        while not any((pair / "stages").glob("1-caption/rewards.rank0.jsonl")):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.01)
        assert len(started_by(process.pid)) >= 4  # swift, torchrun and two workers
    finally:
        os.kill(process.pid, signal.SIGKILL)  # skinflow alone; the others must notice
        process.wait()
    deadline = time.monotonic() + 60
    while started_by(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert started_by(process.pid) == []

    process = start(*command, log=log)
    assert process.wait(600) == 0, log.read_text()[-3000:]
    rewards = (pair / "stages" / "1-caption" / "rewards.jsonl").read_text()
    assert rewards == (alone / "stages" / "1-caption" / "rewards.jsonl").read_text()
    assert len(rewards.splitlines()) == 24
    assert {json.loads(line)["total"] for line in rewards.splitlines()} > {0.2}  # rewards that tell apart
    steps = (pair / "stages" / "1-caption" / "reward_steps.jsonl").read_text()
    assert steps == (alone / "stages" / "1-caption" / "reward_steps.jsonl").read_text()
    assert len((pair / "predictions" / "1-caption-caption-test.jsonl").read_text().splitlines()) == 12


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check_joined()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(WorkFailed, match="2 processes were started, but they formed no process group"):
        processes.check_joined()


@pytest.mark.parametrize("watch", ["", "del os.pidfd_open\n"], ids=["pidfd", "polling"])
def test_a_process_ends_with_the_one_that_it_watches(watch: str, tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    program = (
        f"import os, time\n{watch if hasattr(os, 'pidfd_open') else ''}"
        "from skinflow_plugins import orphans\n"
        "orphans.end_with_parent()\norphans.end_with_parent()\n"
        "print('watching', flush=True)\ntime.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, orphans.PARENT_VARIABLE: str(parent.pid)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "watching\n"
        assert child.poll() is None
        parent.kill()
        parent.wait()
        assert child.wait(10) == 1
    finally:
        parent.kill()
        child.kill()
        child.communicate()


def test_without_a_parent_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(orphans.PARENT_VARIABLE, raising=False)
    orphans.end_with_parent()
    import threading

    assert orphans.PARENT_VARIABLE not in {thread.name for thread in threading.enumerate()}

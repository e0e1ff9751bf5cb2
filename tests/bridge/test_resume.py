"""A run that is killed with -9, and started again by the same command, ends like one that nobody disturbed.

The undisturbed one is `finished`, which ran inside this process; the disturbed one is a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LIMIT = 600.0  # seconds for one start of the program; it takes fifteen on two idle cores


def logged(path: Path, key: str) -> int:
    """The last step in a log that is still being written."""
    if not path.is_file():
        return 0
    whole = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    steps = [int(str(line[key]).partition("/")[0]) for line in whole if key in line]
    return max(steps, default=0)


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool], log: Path) -> None:
    """Send SIGKILL to the whole group once `reached()`; fails when the process ends before."""
    end = time.monotonic() + LIMIT
    while not reached():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_killed_run_ends_like_an_undisturbed_one(
    finished: Any, tiny: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    root, log = tmp_path / "run", tmp_path / "log"
    command = ("run", tiny, "-o", root)
    warmup, caption = root / "stages" / "1-warmup", root / "stages" / "2-caption"

    # In the middle of SFT, some steps beyond the second checkpoint
    process = start(*command, log=log)
    kill_when(process, lambda: logged(warmup / "logging.jsonl", "global_step/max_steps") >= 35, log)
    assert not (warmup / "final").exists()
    (warmup / "checkpoint-32" / "trainer_state.json").unlink()  # as if killed while it was being written

    # In the middle of GRPO, two steps beyond the first checkpoint
    process = start(*command, log=log)
    kill_when(process, lambda: logged(caption / "rewards.rank0.jsonl", "step") >= 5, log)
    said = log.read_text()
    assert "removed checkpoint-32, which was being written when the last run stopped" in said
    assert "stage 1-warmup goes on from checkpoint-16" in said
    assert (caption / "checkpoint-3" / "trainer_state.json").is_file()
    assert not (caption / "final").exists()

    process = start(*command, log=log)
    assert process.wait(LIMIT) == 0, log.read_text()[-3000:]
    said = log.read_text()
    assert "stage 1-warmup is finished already" in said
    assert "stage 2-caption goes on from checkpoint-" in said

    for stage in ("1-warmup", "2-caption", "3-diagnosis"):
        ours, theirs = root / "stages" / stage, finished.root / "stages" / stage
        assert names(ours) == names(theirs)
        if stage != "1-warmup":
            for name in ("rewards.jsonl", "reward_steps.jsonl"):
                assert (ours / name).read_bytes() == (theirs / name).read_bytes()
        for name in ("final", *(path.name for path in theirs.glob("checkpoint-*"))):
            weights, expected = (load_file(folder / name / "model.safetensors") for folder in (ours, theirs))
            assert all(weights[key].equal(value) for key, value in expected.items())
        assert steps(ours) == steps(theirs)
    assert names(root) == names(finished.root)
    assert results(root) == results(finished.root)


def names(folder: Path) -> list[str]:
    """Every file and link below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def steps(folder: Path) -> list[Any]:
    """What swift logged of each step, without its clock."""
    found = []
    for line in (folder / "logging.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "loss" in row:
            found.append([row["global_step/max_steps"], row["loss"], row["grad_norm"], row.get("reward")])
    return found


def results(root: Path) -> Any:
    found = json.loads((root / "results.json").read_text())
    assert set(found.pop("seconds")) == {"1-warmup", "2-caption", "3-diagnosis"}
    return found

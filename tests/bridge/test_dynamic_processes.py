"""Two processes (torchrun, gloo, CPU) train a model with a dynamic encoder as one process does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FULL, LORA = "tuning={tuner: full, encoder: trained}", "tuning={tuner: lora, encoder: trained}"
STAGES = ((FULL, "taught"), (FULL, "first"), (LORA, "first"), (LORA, "second"))
"""The last one has the first adapter for its reference, beside the one that it trains."""
TOLERANCE = 1e-4
"""Relative, of losses, KL and gradient norms: sums in float32 over other parts, four steps long."""

# What is drawn otherwise depends on who draws it. Here it depends on the answer's place in its group and on the
# distribution itself, so that both ways sample the same, different, answers.
DRAWING = '''
import torch


def draw(probabilities, num_samples, **options):
    assert num_samples == 1
    place = torch.arange(len(probabilities)) % 4 + 1
    uniform = (0.618034 * place + 7 * probabilities.max(-1).values) % 1
    summed = probabilities.cumsum(-1)
    return (summed < uniform[:, None] * summed[:, -1:]).sum(-1, keepdim=True)
'''
WORKER = (
    DRAWING
    + '''
import json, os, sys

torch.multinomial = draw
from skinflow_plugins.bridge.register import register

for command, argv, environment in json.load(open(sys.argv[1])):
    os.environ.update(environment)
    register()
    from swift import pipelines

    {"sft": pipelines.sft_main, "rlhf": pipelines.rlhf_main}[command](argv)
'''
)


@pytest.mark.slow
def test_two_processes_are_one(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file
    from torch import multinomial

    from skinflow_plugins.bridge.swift_yaml import arguments_of

    drawing: dict[str, Any] = {}
    exec(DRAWING, drawing)
    pairs = {}
    for tuning in (FULL, LORA):
        both = ["swift.learning_rate=1e-3", tuning]
        two = ["launch={mode: process, processes: 2}", "swift.per_device_train_batch_size=4"]
        pairs[tuning] = lab.plan(*both, start="random"), lab.plan(*both, *two, start="random")
    work = []
    for tuning, name in STAGES:
        alone, pair = pairs[tuning]
        with monkeypatch.context() as patch:
            patch.setattr("torch.multinomial", drawing["draw"])
            lab.run(alone, name)
        stage = next(each for each in pair.stages if each.stage.name == name)
        work.append((stage.command, arguments_of(stage), dict(stage.environment)))
    assert multinomial is __import__("torch").multinomial

    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "work.json").write_text(json.dumps(work))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--master_port", str(port), str(tmp_path / "worker.py"), str(tmp_path / "work.json")),
        ],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join([str(lab.site), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]

    for tuning, name in STAGES:
        folders = [Path(plan.root) / "stages" / f"{slug(name)}-{name}" for plan in pairs[tuning]]
        ours, theirs = (steps(folder) for folder in folders)
        assert len(ours) == len(theirs) == 4
        for key in ("loss", "grad_norm") if name == "taught" else ("loss", "grad_norm", "kl", "reward"):
            expected = [row[key] for row in ours]
            assert [row[key] for row in theirs] == pytest.approx(expected, rel=TOLERANCE, abs=2e-6), (name, key)
        if name != "taught":
            parts = [(folders[1] / f"rewards.rank{rank}.jsonl").read_text() for rank in (0, 1)]
            assert [len(part.splitlines()) for part in parts] == [16, 16]
            said = [(folder / "rewards.jsonl").read_text() for folder in folders]
            assert said[0] == said[1]
            assert ours[1]["kl"] > 1e-6
            assert min(row["reward_std"] for row in ours) > 0
        (file,) = (folders[0] / "final").glob("*model.safetensors")
        alone_, pair_ = (load_file(folder / "final" / file.name) for folder in folders)
        assert alone_.keys() == pair_.keys()
        for key, value in alone_.items():
            assert (value - pair_[key]).abs().max() < 1e-4, key


def slug(name: str) -> int:
    return {"taught": 1, "first": 2, "second": 3}[name]


def steps(folder: Path) -> list[dict[str, Any]]:
    """What swift logged of each step."""
    rows = [json.loads(line) for line in (folder / "logging.jsonl").read_text().splitlines()]
    return [row for row in rows if "grad_norm" in row]

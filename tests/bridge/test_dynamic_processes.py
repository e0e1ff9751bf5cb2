"""Two processes (torchrun, gloo, CPU) train a model with a dynamic encoder as one process does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FULL, LORA = "tuning={tuner: full, encoder: trained}", "tuning={tuner: lora, encoder: trained}"
STAGES = ((FULL, "taught"), (FULL, "first"), (LORA, "first"), (LORA, "second"))
"""The last one has the first adapter for its reference, beside the one that it trains."""
TOLERANCE = 1e-4
"""Relative, of losses, rewards and gradient norms: sums in float32 over other parts, three steps long."""
RATE = 1e-3
"""Learning rate, and so about what Adam moves a weight in a step; ends may differ by a fifth of it."""

# What is drawn otherwise depends on who draws it. Here it depends on the answer's place in its group and on
# the distribution itself, so that both ways sample the same answers, which differ within a group.
DRAWING = """
import torch


def draw(probabilities, num_samples, **options):
    assert num_samples == 1
    place = torch.arange(len(probabilities)) % 4 + 1
    uniform = (0.618034 * place + 7 * probabilities.max(-1).values) % 1
    summed = probabilities.cumsum(-1)
    return (summed < uniform[:, None] * summed[:, -1:]).sum(-1, keepdim=True)
"""
WORKER = (
    DRAWING
    + """
import json, os, sys

torch.multinomial = draw
from skinflow_plugins.bridge.register import register

for command, argv, environment in json.load(open(sys.argv[1])):
    os.environ.update(environment)
    register()
    from swift import pipelines

    {"sft": pipelines.sft_main, "rlhf": pipelines.rlhf_main}[command](argv)
"""
)


@pytest.mark.slow  # swift is imported twice more
def test_two_processes_are_one(
    lab: Any, log_probabilities: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file
    from torch import multinomial

    from skinflow_plugins.bridge.swift_yaml import arguments_of

    drawing: dict[str, Any] = {}
    exec(DRAWING, drawing)
    pairs = {}
    for tuning in (FULL, LORA):
        both = [f"swift.learning_rate={RATE}", "swift.max_steps=3", tuning]
        two = ["launch={mode: process, processes: 2}", "swift.per_device_train_batch_size=4"]
        pairs[tuning] = lab.plan(*both, start="random"), lab.plan(*both, *two, start="random")
    work, runs = [], []
    for tuning, name in STAGES:
        alone, pair = pairs[tuning]
        with monkeypatch.context() as patch:
            patch.setattr("torch.multinomial", drawing["draw"])
            runs.append(lab.run(alone, name))
        stage = next(each for each in pair.stages if each.stage.name == name)
        work.append((stage.command, arguments_of(stage), dict(stage.environment)))
    assert multinomial is __import__("torch").multinomial

    lab.in_two_processes(WORKER, work, tmp_path)

    for run, (tuning, name) in zip(runs, STAGES, strict=True):
        folder = Path(pairs[tuning][1].folder(run.stage))
        expected, found = run.steps(), steps(folder)
        same = ("loss", "grad_norm") if name == "taught" else ("loss", "grad_norm", "reward", "reward_std")
        for key in same:
            wanted = pytest.approx([row[key] for row in expected], rel=TOLERANCE, abs=2e-6)
            assert [row[key] for row in found] == wanted, (name, key)
        if name != "taught":
            assert [row["kl"] for row in found] == pytest.approx(
                kl(run, log_probabilities), rel=1e-3, abs=2e-6
            )
            assert found[0]["kl"] < 1e-6 < found[1]["kl"]
            assert min(row["reward_std"] for row in found) > 0
            assert (folder / "rewards.jsonl").read_text() == (run.folder / "rewards.jsonl").read_text()
        (file,) = run.checkpoint(3).glob("*model.safetensors")
        ours, theirs = load_file(file), load_file(folder / "final" / file.name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert (value - theirs[key]).abs().max() < RATE / 5, (name, key)


def kl(run: Any, log_probabilities: Callable[..., Any]) -> list[float]:
    """By hand, as swift logs it of two processes: the mean of the two means over tokens, of any lengths."""
    found, reference = [], run.load(0)
    for step, forward in enumerate(run.forwards):
        mask = forward[1]
        distance = log_probabilities(reference, forward) - log_probabilities(run.load(step), forward)
        estimate = (distance.exp() - distance - 1) * mask
        halves = [float(estimate[half].sum() / mask[half].sum()) for half in (slice(0, 4), slice(4, 8))]
        found.append(sum(halves) / 2)
    return found


def steps(folder: Path) -> list[dict[str, Any]]:
    """What swift logged of each step."""
    rows = [json.loads(line) for line in (folder / "logging.jsonl").read_text().splitlines()]
    return [row for row in rows if "grad_norm" in row]

"""An adapter, its merged export and the model in memory are one function; so is a full checkpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.entry_path import plugin_path

SAME = 1e-4
"""How far log-probabilities may be apart in float32; a merged weight is rounded anew."""


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        (("tuning={tuner: lora, encoder: frozen}",), "random"),
        (("tuning={tuner: lora, encoder: trained}",), "random"),
        (("tuning={tuner: routers, encoder: frozen}",), "random"),
        (("tuning={tuner: lora}", "model.vision={router: block, frozen_bases: true}"), "fresh"),
    ],
    ids=["lora", "lora in the tower", "routers", "other routers"],
)
def test_adapter_merged_and_memory_agree(
    lab: Any, log_probabilities: Callable[..., Any], tmp_path: Path, overrides: tuple[str, ...], start: str
) -> None:
    from safetensors import safe_open
    from swift.arguments import InferArguments
    from swift.pipelines import export_main
    from swift.pipelines.utils import prepare_model_template

    from skinflow_plugins.models import load

    trained = lab.train(*overrides, start=start)
    adapter, merged = trained.checkpoint(4), tmp_path / "merged"
    # What it is asked about, which model it belongs to and our plug-in: all from the adapter's args.json
    export_main(["--adapters", str(adapter), "--merge_lora", "true", "--output_dir", str(merged)])

    forward = trained.forwards[-1]
    expected = log_probabilities(trained.model, forward)
    before = log_probabilities(trained.load(0), forward)
    assert (expected - before).abs().max() > 0.05  # there is something to lose
    of_swift, _ = prepare_model_template(InferArguments(adapters=[str(adapter)]))
    found = {
        "PEFT": trained.load(4),
        "swift": of_swift.eval(),
        "merged": load(merged),
    }
    for name, model in found.items():
        assert (log_probabilities(model, forward) - expected).abs().max() < SAME, name

    config = json.loads((merged / "config.json").read_text())
    base = json.loads((trained.base / "config.json").read_text())
    assert config["model_type"] == base["model_type"] == "skinflow_qwen2_5_vl"
    assert config["architectures"] == base["architectures"]
    assert config["dve"] == base["dve"]
    with safe_open(merged / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(load(trained.base).state_dict())
    assert {path.suffix for path in merged.iterdir()}.isdisjoint({".bin"})
    assert not list(merged.glob("base-*"))
    assert not (merged / "adapter_config.json").exists()
    assert len(answers(merged, trained, tmp_path)) == 4


@pytest.mark.parametrize("tuning", ["{tuner: full, encoder: trained}", "{tuner: routers, encoder: trained}"])
def test_a_full_checkpoint_is_the_model_in_memory(
    lab: Any, log_probabilities: Callable[..., Any], tmp_path: Path, tuning: str
) -> None:
    trained = lab.train(f"tuning={tuning}", start="random")
    forward = trained.forwards[-1]
    expected = log_probabilities(trained.model, forward)
    assert (expected - log_probabilities(trained.load(0), forward)).abs().max() > 0.05
    assert log_probabilities(trained.load(4), forward).equal(expected)
    assert len(answers(trained.checkpoint(4), trained, tmp_path)) == 4


@pytest.mark.slow  # swift is imported once more
def test_in_a_program_of_its_own(lab: Any, tmp_path: Path) -> None:
    """`swift infer --model MERGED`, with the plug-in and nothing else that says what kind of model it is."""
    from swift.pipelines import export_main

    trained = lab.train("tuning={tuner: lora, encoder: frozen}", start="random")
    merged = tmp_path / "merged"
    export_main(
        ["--adapters", str(trained.checkpoint(4)), "--merge_lora", "true", "--output_dir", str(merged)]
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "swift.cli.main",
            "infer",
            *infer_arguments(merged, trained, tmp_path / "answers.jsonl"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    here = answers(merged, trained, tmp_path)
    assert [row["response"] for row in rows] == [row["response"] for row in here]


def infer_arguments(model: Path, trained: Any, out: Path) -> list[str]:
    questions = Path(trained.plan.root) / "data" / "eval-caption-test.jsonl"
    return [
        *("--model", str(model), "--external_plugins", plugin_path(), "--val_dataset", str(questions)),
        *("--result_path", str(out), "--max_new_tokens", "8", "--temperature", "0"),
    ]


def answers(model: Path, trained: Any, folder: Path) -> list[Any]:
    """What `swift infer --model MODEL` says to the four questions, inside this process."""
    from swift.pipelines import infer_main

    found: list[Any] = infer_main(infer_arguments(model, trained, folder / "inside.jsonl"))
    return found

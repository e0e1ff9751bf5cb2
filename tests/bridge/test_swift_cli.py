"""swift by hand: the files of `skinflow plan`, our rewards without a recipe, and LoRA between stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.run import run

pytestmark = pytest.mark.slow


def swift_program(*arguments: object, folder: Path) -> str:
    """What the real `swift ARGUMENTS`, called in `folder`, says; it must succeed."""
    done = subprocess.run(
        [Path(sys.executable).parent / "swift", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout + done.stderr


def test_the_files_of_plan_run_unchanged_from_anywhere(
    tiny: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    short = [
        f"stages.{name}.swift.{key}=2"
        for name in ("warmup", "caption")
        for key in ("max_steps", "save_steps")
    ]
    log = tmp_path / "log"
    # A relative folder, from one place; swift from another
    assert start("plan", tiny, "-o", "made", *short, log=log, cwd=home).wait(600) == 0, log.read_text()
    made = home / "made"
    assert not (made / "stages").exists()
    before = {path: path.read_bytes() for path in made.iterdir() if path.is_file()}

    swift_program("sft", made / "1-warmup.yaml", folder=elsewhere)
    assert (made / "stages" / "1-warmup" / "final" / "model.safetensors").is_file()
    swift_program("rlhf", made / "2-caption.yaml", folder=elsewhere)
    rows = (made / "stages" / "2-caption" / "rewards.jsonl").read_text().splitlines()
    assert len(rows) == 16
    assert all(
        set(json.loads(row)["rewards"]) == {"caption.caption_fields", "caption.format"} for row in rows
    )
    assert list(elsewhere.iterdir()) == []
    assert {path: path.read_bytes() for path in made.iterdir() if path.is_file()} == before


def test_rewards_without_a_recipe(finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`swift rlhf --external_plugins "$(skinflow plugin)" --reward_funcs ranked_diagnosis ...`"""
    from swift.pipelines import rlhf_main

    plugin = subprocess.run(
        [sys.executable, "-m", "skinflow_plugins.cli", "plugin"], capture_output=True, text=True, check=True
    ).stdout.strip()
    rows = [
        json.loads(line) for line in (finished.root / "data" / "3-diagnosis.jsonl").read_text().splitlines()
    ]
    plain = [
        {
            "messages": row["messages"],
            "images": row["images"],
            "id": row["id"],
            "diagnosis": sample["diagnosis"],
        }
        for row in rows
        if row["task"] == "diagnosis" and (sample := json.loads(row["sample"]))
    ]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in plain))
    monkeypatch.delenv("SKINFLOW_STAGE", raising=False)
    for name in [name for name in sys.modules if name.startswith("_swift_external_")]:
        monkeypatch.delitem(sys.modules, name)  # swift reads a plug-in file once per process
    monkeypatch.setenv(
        "SKINFLOW_OPTIONS", json.dumps({"ranked_diagnosis": {"list_length": 3, "taxonomy": "demo"}})
    )
    rlhf_main(
        [
            *("--rlhf_type", "grpo", "--external_plugins", plugin),
            *("--reward_funcs", "ranked_diagnosis", "--use_vllm", "false", "--dataset", str(data)),
            *("--model", str((finished.root / "stages" / "1-warmup" / "final").resolve())),
            *("--model_type", "qwen2_5_vl", "--template", "qwen2_5_vl", "--tuner_type", "full"),
            *("--num_generations", "4", "--per_device_train_batch_size", "8", "--max_steps", "2"),
            *("--max_completion_length", "16", "--logging_steps", "1", "--output_dir", str(tmp_path / "out")),
            *("--torch_dtype", "float32", "--fp16", "false", "--bf16", "false", "--use_hf", "true"),
            *("--check_model", "false", "--add_version", "false", "--report_to", "none"),
            *("--dataset_num_proc", "1", "--dataloader_num_workers", "0", "--save_strategy", "no"),
        ]
    )
    steps = [json.loads(line) for line in (tmp_path / "out" / "logging.jsonl").read_text().splitlines()]
    steps = [step for step in steps if "reward" in step]
    assert len(steps) == 2
    for step in steps:
        assert 0 <= step["reward"] <= 1
        assert step["rewards/ranked_diagnosis/mean"] == pytest.approx(step["reward"])
    assert not (tmp_path / "out" / "rewards.jsonl").exists()  # nobody asked for it


def test_lora_hands_its_adapter_over(read: Callable[..., Any], swift: None, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    loaded, known = read(
        "swift.tuner_type=lora",
        "swift.lora_dropout=0",  # else policy and reference differ by chance
        "stages.warmup.swift.max_steps=16",
        "stages.caption.swift.max_steps=2",
        "stages.diagnosis=null",
        "eval.permuted=false",
    )
    root = tmp_path / "run"
    rows = run(loaded, known, root, lambda _: None)
    assert [row.name for row in rows] == ["after warmup", "after caption", "best constant answer"]
    first, second = (root / "stages" / slug / "final" for slug in ("1-warmup", "2-caption"))
    arguments = json.loads((root / "stages" / "2-caption" / "args.json").read_text())
    assert arguments["adapters"] == [str(first)]
    assert arguments["ref_adapters"] == [str(first)]
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (first, second))
    assert before.keys() == after.keys()
    assert any(not value.equal(before[name]) for name, value in after.items())
    # It went on from the first stage's adapter, not from a new one: two steps move it a little only
    distance = sum(float((after[name] - value).abs().sum()) for name, value in before.items())
    assert distance < 0.1 * sum(float(value.abs().sum()) for value in before.values())
    kl = [
        json.loads(line).get("kl")
        for line in (root / "stages" / "2-caption" / "logging.jsonl").read_text().splitlines()
    ]
    assert kl[0] == pytest.approx(0, abs=1e-6)  # at the first step policy and reference are the same

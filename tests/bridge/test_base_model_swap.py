"""Each base model family goes through swift's SFT, GRPO and inference, with the same arguments."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from skinflow_plugins.bridge.token_ids import read_token_ids_from_tokenizer
from skinflow_plugins.models import FAMILIES, BaseFamily, build_tiny

QUESTION = "What is shown?"
ANSWERS = ("psoriasis", "eczema", "melanoma")
FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)

COMMON = [
    *("--torch_dtype", "float32", "--fp16", "false", "--bf16", "false"),  # float32 alone means fp16 to swift
    *("--check_model", "false", "--use_hf", "true"),  # no call home
    *("--dataset_num_proc", "1"),
]
TRAINING = [
    *COMMON,
    *("--tuner_type", "full", "--freeze_vit", "false", "--freeze_aligner", "false"),
    *("--max_steps", "2", "--logging_steps", "1", "--learning_rate", "1e-3", "--save_only_model", "true"),
    *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"),
    *("--dataloader_num_workers", "0", "--add_version", "false", "--report_to", "none", "--seed", "0"),
]


@pytest.fixture(scope="module", autouse=True)
def swift_on_this_machine() -> Iterator[None]:
    """swift offline, knowing the tokenizers' own ids and one reward."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from swift.rewards import ORM, orms

        class AnswerLength(ORM):
            """One point per character, so that no model learns to say nothing."""

            def __call__(self, completions: list[str], **columns: Any) -> list[float]:
                assert len(columns["solution"]) == len(completions)
                return [float(len(text)) for text in completions]

        patch.setitem(orms, "answer_length", AnswerLength)
        read_token_ids_from_tokenizer()
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four generated images with a question and an answer each: sft.jsonl and grpo.jsonl."""
    folder = tmp_path_factory.mktemp("data")
    pixels = np.random.default_rng(0)
    rows = []
    for index in range(4):
        path = folder / f"{index}.png"
        Image.fromarray(pixels.integers(0, 255, (56, 56, 3), dtype=np.uint8)).save(path)
        rows.append((str(path), ANSWERS[index % len(ANSWERS)]))
    with (folder / "sft.jsonl").open("w") as sft, (folder / "grpo.jsonl").open("w") as grpo:
        for path_, answer in rows:
            user = {"role": "user", "content": f"<image>{QUESTION}"}
            row = {"messages": [user, {"role": "assistant", "content": answer}], "images": [path_]}
            sft.write(json.dumps(row) + "\n")
            grpo.write(json.dumps({"messages": [user], "images": [path_], "solution": answer}) + "\n")
    return folder


def steps_of(run: Path) -> list[dict[str, Any]]:
    """What swift logged about each training step."""
    lines = [json.loads(line) for line in (run / "logging.jsonl").read_text().splitlines()]
    return [line for line in lines if "grad_norm" in line]


def changed(before: Path, after: Path) -> set[str]:
    """The names of the weights that differ between two checkpoints of one file each."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert old.keys() == new.keys()
    return {name for name in old if not old[name].equal(new[name])}


@FAMILY
def test_sft_grpo_infer(family: BaseFamily, data: Path, tmp_path: Path) -> None:
    from swift.pipelines import infer_main, rlhf_main, sft_main

    base = build_tiny(family.name, tmp_path / "base", vocabulary=[QUESTION, *ANSWERS], width=64, depth=2)
    kind = ["--model_type", family.swift_model_type, "--template", family.swift_template]

    sft, tuned = tmp_path / "sft", tmp_path / "sft" / "checkpoint-2"
    sft_main(
        [
            "--model",
            str(base),
            *kind,
            "--dataset",
            str(data / "sft.jsonl"),
            "--output_dir",
            str(sft),
            *TRAINING,
        ]
    )
    assert len(steps_of(sft)) == 2
    assert all(math.isfinite(step["loss"]) and step["grad_norm"] > 0 for step in steps_of(sft))
    moved = changed(base, tuned)
    tower = re.compile(r"(^|\.)(visual|vision_tower|vision_model)\.")
    assert any(tower.search(name) for name in moved)
    assert any("layers" in name and not tower.search(name) for name in moved)

    grpo, rewarded = tmp_path / "grpo", tmp_path / "grpo" / "checkpoint-2"
    rlhf_main(
        [
            *("--rlhf_type", "grpo", "--reward_funcs", "answer_length", "--use_vllm", "false"),
            *("--num_generations", "4", "--max_completion_length", "8"),
            *("--model", str(tuned), *kind, "--dataset", str(data / "grpo.jsonl")),
            *("--output_dir", str(grpo), *TRAINING),
        ]
    )
    assert len(steps_of(grpo)) == 2
    for step in steps_of(grpo):
        assert math.isfinite(step["loss"])
        assert math.isfinite(step["kl"])
        assert step["reward"] == step["rewards/AnswerLength/mean"] >= 0
        assert 1 <= step["completions/mean_length"] <= 8
    assert changed(tuned, rewarded)

    # model type, template and precision come from the checkpoint's args.json
    answers = infer_main(
        [
            *("--model", str(rewarded), "--val_dataset", str(data / "grpo.jsonl")),
            *(
                "--result_path",
                str(tmp_path / "answers.jsonl"),
                "--max_new_tokens",
                "8",
                "--temperature",
                "0",
            ),
        ]
    )
    assert len(answers) == 4
    assert any(answer["response"] for answer in answers)

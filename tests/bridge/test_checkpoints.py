"""Which checkpoints are whole, which one is final, and what a resumed stage still has to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from skinflow_plugins.bridge import checkpoints


def checkpoint(folder: Path, step: int, *, whole: bool = True, of: int = 100) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_text(f"weights {step}")
    if whole:
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": of}))
    return path


def test_whole_checkpoints_are_in_order_of_steps(tmp_path: Path) -> None:
    for step in (100, 9, 20):
        checkpoint(tmp_path, step)
    checkpoint(tmp_path, 30, whole=False)
    assert [path.name for path in checkpoints.whole(tmp_path)] == [
        "checkpoint-9",
        "checkpoint-20",
        "checkpoint-100",
    ]
    assert [path.name for path in checkpoints.broken(tmp_path)] == ["checkpoint-30"]
    assert checkpoints.whole(tmp_path / "nowhere") == []


def test_only_the_half_written_are_removed(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1)
    checkpoint(tmp_path, 2, whole=False)
    assert [path.name for path in checkpoints.remove_broken(tmp_path)] == ["checkpoint-2"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    assert checkpoints.remove_broken(tmp_path) == []


def test_final_is_a_relative_link_that_can_be_moved_and_set_again(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    checkpoint(folder, 1)
    checkpoint(folder, 2)
    (folder / "final.partial").symlink_to("checkpoint-1")  # left by somebody who was killed here
    checkpoints.link_final(folder, 1)
    assert (folder / "final" / "model.safetensors").read_text() == "weights 1"
    checkpoints.link_final(folder, 2)
    assert os.readlink(folder / "final") == "checkpoint-2"
    assert (folder.rename(tmp_path / "moved") / "final" / "model.safetensors").read_text() == "weights 2"


def test_a_last_step_that_was_not_saved_is_an_error(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match="checkpoint-2: the last step was not saved"):
        checkpoints.link_final(tmp_path, 2)
    assert not (tmp_path / "final").exists()


def test_the_last_checkpoint_leaves_nothing_to_do(tmp_path: Path) -> None:
    assert not checkpoints.is_last(checkpoint(tmp_path, 50))
    assert checkpoints.is_last(checkpoint(tmp_path, 100))


def test_closing_joins_the_rewards_where_there_are_any(tmp_path: Path) -> None:
    sft, grpo = tmp_path / "sft", tmp_path / "grpo"
    for folder in (sft, grpo):
        checkpoint(folder, 1)
    line = json.dumps({"step": 1, "id": "a", "task": "t", "completion": "", "generation": 0}) + "\n"
    (grpo / "rewards.rank0.jsonl").write_text(line)
    for folder in (sft, grpo):
        checkpoints.close(folder, 1)
        assert (folder / "final").is_symlink()
    assert not (sft / "rewards.jsonl").exists()
    assert (grpo / "rewards.jsonl").read_text() == line


@pytest.mark.slow
def test_weights_keep_the_names_of_the_modules(tmp_path: Path, swift: None) -> None:
    """Else the trainer's resume, which loads raw names, would go on from the base weights without a word."""
    from safetensors import safe_open
    from transformers import AutoModelForImageTextToText

    from skinflow_plugins.models import build_tiny

    base = build_tiny("qwen2_5_vl", tmp_path / "base", vocabulary=["word"], width=64, depth=2)
    model = AutoModelForImageTextToText.from_pretrained(base)
    checkpoints.keep_module_names()
    checkpoints.keep_module_names()
    model.save_pretrained(tmp_path / "saved")
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        saved = set(file.keys())
    assert saved <= set(model.state_dict())
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved").state_dict()
    assert all(value.equal(again[name]) for name, value in model.state_dict().items())


def test_a_state_that_was_cut_off_is_no_whole_checkpoint(tmp_path: Path) -> None:
    for step, state in ((1, '{"global_step": 1}'), (2, '{"global_st')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert [path.name for path in checkpoints.whole(tmp_path)] == ["checkpoint-1"]
    assert [path.name for path in checkpoints.broken(tmp_path)] == ["checkpoint-2"]

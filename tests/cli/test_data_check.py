"""`skinflow data check`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

RECIPE = """\
name: mine
model: {base: tiny:qwen2_5_vl}
taxonomy: demo
data: {source: jsonl, train: train.jsonl, test: test.jsonl}
tasks:
  diagnosis: {prompt: what is it, target: ranked_list}
stages:
  - {name: warmup, kind: sft, teach: {diagnosis: {}}, swift: {max_steps: 1}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A recipe with four images of its own, two for each split."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for split in ("train", "test"):
        rows = []
        for number, diagnosis in enumerate(("melanoma", "psoriasis")):
            Image.new("RGB", (32, 32), (number, 90, 90)).save(folder / f"{split}{number}.png")
            row = {"id": f"{split}{number}", "image": f"{split}{number}.png", "diagnosis": diagnosis}
            rows.append(json.dumps({**row, "group": f"{split}-patient"}))
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n")
    text = RECIPE
    for split in ("train", "test"):
        text = text.replace(f"{split}: {split}.jsonl", f"{split}: {folder / split}.jsonl")
    (folder / "mine.yaml").write_text(text)
    return folder / "mine.yaml"


def test_drawn_data_is_counted_and_leaves_nothing(skinflow: Callable[..., Any]) -> None:
    done = skinflow("data", "check", "quickstart", "data.train=24", "data.validation=6", "data.test=12")
    assert (done.code, done.err) == (0, "")
    rows = {line.rsplit(maxsplit=4)[0].strip(): line.split()[-4:] for line in done.out.splitlines() if line}
    assert rows["records"] == ["24", "6", "12", "42"]
    assert rows["melanoma"] == ["4", "1", "2", "7"]
    assert "III-IV" in rows
    assert done.out.endswith("ok: 42 records; every image decodes, and no group stands in two splits\n")
    assert list(Path.cwd().iterdir()) == []


def test_own_images(skinflow: Callable[..., Any], mine: Path) -> None:
    done = skinflow("data", "check", mine)
    assert (done.code, done.err) == (0, "")
    assert "skin tone: not known" in done.out
    assert "ok: 4 records" in done.out


def test_damaged_images_come_all_at_once_with_the_counts(skinflow: Callable[..., Any], mine: Path) -> None:
    for name in ("train0.png", "test1.png"):
        data = (mine.parent / name).read_bytes()
        (mine.parent / name).write_bytes(data[: len(data) // 2])
    done = skinflow("data", "check", mine)
    assert done.code == 2
    assert done.out.splitlines()[1].split() == ["records", "2", "2", "4"]
    assert done.err.startswith("skinflow: 2 problems\n")
    assert "train0.png: the image does not decode" in done.err
    assert "test1.png: the image does not decode" in done.err


def test_a_patient_in_two_splits(skinflow: Callable[..., Any], mine: Path) -> None:
    test = mine.parent / "test.jsonl"
    test.write_text(test.read_text().replace("test-patient", "train-patient"))
    done = skinflow("data", "check", mine)
    assert done.code == 2
    assert "the group 'train-patient' is in 2 splits" in done.err

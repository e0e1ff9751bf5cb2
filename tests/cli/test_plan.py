"""`skinflow plan`, printed and written."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = ["data.train=24", "data.validation=6", "data.test=6"]


def test_printing_a_plan_touches_nothing(skinflow: Callable[..., Any]) -> None:
    done = skinflow("plan", "quickstart")
    assert (done.code, done.err) == (0, "")
    root = Path.cwd() / "runs" / "quickstart"
    assert done.out.startswith(f"recipe quickstart: 3 stages from {root}/base (qwen2_5_vl)\n")
    for name in ("1-warmup.yaml", "2-caption.yaml", "3-diagnosis.yaml", "3-diagnosis.skinflow.json"):
        assert f"--- {name}\n" in done.out
    assert list(Path.cwd().iterdir()) == []


def test_a_written_plan_is_a_run_folder(skinflow: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    # an option between the recipe and its changes
    done = skinflow("plan", "quickstart", "-o", folder, *SMALL)
    assert done.code == 0
    commands = [line for line in done.out.splitlines() if line.startswith("swift ")]
    programs = {"1-warmup": "sft", "2-caption": "rlhf", "3-diagnosis": "rlhf"}
    assert commands == [
        f"swift {program} {shlex.quote(f'{folder}/{slug}.yaml')}" for slug, program in programs.items()
    ]
    for command in commands:
        assert Path(shlex.split(command)[-1]).is_file()
    assert (folder / "base" / "config.json").is_file()
    assert len((folder / "data" / "eval-caption-test.jsonl").read_text().splitlines()) == 6
    assert not (folder / "stages").exists()

    note = next(line for line in done.out.splitlines() if line.startswith("note: "))
    assert note == "note: model.vision.encoder: dve changes the model; `run` grafts it first"
    assert f"{note}\n" in (folder / "plan.txt").read_text()

    other = skinflow("plan", "quickstart", "-o", folder, *SMALL, "seed=1")
    assert other.code == 2
    assert other.err == (
        f"skinflow: {folder}: the folder holds a run of another recipe, "
        "which differs in model.options.seed, seed\n"
        "    choose another folder with -o, or remove this one; nothing was touched\n"
    )


def test_a_place_that_is_no_folder(skinflow: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = skinflow("plan", "quickstart", "-o", tmp_path / "file" / "run", *SMALL)
    assert done.code == 2
    assert f"{tmp_path / 'file'}: is a file, not a folder" in done.err

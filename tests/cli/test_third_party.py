"""Real packages of others: found, listed, checked, trained with; a broken one is shown and stops nothing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.testing import check_reward

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = HERE.parent / "third_party" / "skinflow-hedging"
BROKEN = re.compile(r"RuntimeError: the dermatoscope is not plugged in \(.*skinflow_broken\.py:3\)")


def blocks(readme: Path) -> list[str]:
    """The Python code shown in a Markdown file."""
    return re.findall(r"^```python\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("readme", [PACKAGE / "README.md", ROOT / "README.md"], ids=["package", "project"])
def test_the_example_that_is_shown_is_the_one_that_is_tested(readme: Path) -> None:
    source = (PACKAGE / "skinflow_hedging.py").read_text(encoding="utf-8")
    tested = {line for line in source.splitlines() if line.strip()}
    shown = [block for block in blocks(readme) if "hedging" in block] if readme.exists() else []
    assert shown or readme.parent == ROOT
    for block in shown:
        assert {line for line in block.splitlines() if line.strip()} <= tested


@pytest.mark.usefixtures("third_party")
def test_it_is_listed_and_shown(skinflow: Callable[..., Any]) -> None:
    assert re.search(
        r"^hedging +skinflow-hedging +-1 when the answer names more than `most` diagnoses\.",
        skinflow("list", "rewards").out,
        re.MULTILINE,
    )
    taxonomies = skinflow("list", "taxonomies").out
    assert re.search(r"^nails +skinflow-hedging +4 labels in 6 concepts", taxonomies, re.MULTILINE)
    assert re.search(r"^hedged_quickstart +skinflow-hedging +", skinflow("list", "recipes").out, re.MULTILINE)
    shown = skinflow("show", "hedging").out
    assert shown.startswith("reward hedging, from skinflow-hedging\n")
    assert "range: -1 to 0" in shown
    assert "  most: int = 3\n" in shown


@pytest.mark.usefixtures("third_party")
def test_its_reward_keeps_the_contract() -> None:
    reward = catalogue().get("rewards", "hedging")
    answers = ["psoriasis", "a; b; c", "a; b; c; d"]
    check_reward(reward, [{"id": "1"}], answers=answers)
    assert [reward(answer) for answer in answers] == [0.0, 0.0, -1.0]


@pytest.mark.usefixtures("third_party")
def test_recipes_can_use_it(skinflow: Callable[..., Any]) -> None:
    done = skinflow("validate", "hedged_quickstart")
    assert done.code == 0
    assert "rewards caption_fields, format, ranked_diagnosis, hedging;" in done.out
    wrong = skinflow("validate", "hedged_quickstart", "stages.diagnosis.rewards.hedging.most=many")
    assert wrong.code == 2
    assert "'many' does not fit `most: int = 3`" in wrong.err


@pytest.mark.usefixtures("third_party")
def test_a_broken_one_is_shown_with_its_reason_and_stops_nothing(skinflow: Callable[..., Any]) -> None:
    listed = skinflow("list", "plugins")
    assert listed.code == 0
    first, reason = (line for line in listed.out.splitlines() if "broken" in line)
    assert first.split() == ["broken", "skinflow-broken", "skinflow_broken", "BROKEN"]
    assert BROKEN.fullmatch(reason.strip())
    assert "skinflow-broken:broken (BROKEN)" in skinflow("list").out

    doctor = skinflow("doctor")
    assert doctor.code == 0
    assert re.search(
        rf"^warning  plug-in broken from skinflow-broken did not load: {BROKEN.pattern}$",
        doctor.out,
        re.MULTILINE,
    )
    assert "pip uninstall skinflow-broken" in doctor.out

    unknown = skinflow("validate", "quickstart", "stages.caption.rewards=[hegding]")
    assert "unknown reward 'hegding'; did you mean 'hedging'?" in unknown.err
    assert "plug-ins that did not load: broken; see `skinflow list plugins`" in unknown.err
    assert "plug-ins that did not load: broken" in skinflow("show", "dermatoscope").err


def test_two_owners_of_one_name_are_both_named(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    info = other / "skinflow_other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: skinflow-other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[skinflow]\nother = skinflow_other\n")
    source = (PACKAGE / "skinflow_hedging.py").read_text()
    (other / "skinflow_other.py").write_text(source.partition("@hookimpl\ndef skinflow_taxonomies")[0])
    environment = {**os.environ, "PYTHONPATH": f"{other}{os.pathsep}{site}"}
    for verb in (["list"], ["validate", "quickstart"]):
        done = subprocess.run(
            [sys.executable, "-m", "skinflow_plugins.cli", *verb],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr == (
            "skinflow: the name 'hedging' is claimed twice among rewards: "
            "by skinflow-hedging and by skinflow-other\n"
            "    rename one of them, or uninstall one of the two packages\n"
        )


@pytest.mark.slow
def test_swift_trains_with_it_and_no_recipe(
    skinflow: Callable[..., Any], third_party: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    small = ["data.train=8", "data.validation=2", "data.test=2", "stages.diagnosis.swift.max_steps=2"]
    assert skinflow("plan", "quickstart", "-o", folder, "model.vision.encoder=base", *small).code == 0
    arguments = [
        *("--rlhf_type", "grpo", "--reward_funcs", "hedging", "ranked_diagnosis"),
        *("--model", str(folder / "base"), "--model_type", "qwen2_5_vl", "--template", "qwen2_5_vl"),
        *("--dataset", str(folder / "data" / "3-diagnosis.jsonl"), "--output_dir", str(tmp_path / "out")),
        *("--tuner_type", "full", "--use_vllm", "false", "--num_generations", "4", "--max_steps", "2"),
        *("--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1"),
        *("--max_completion_length", "8", "--logging_steps", "1", "--add_version", "false"),
        *("--torch_dtype", "float32", "--fp16", "false", "--bf16", "false", "--save_strategy", "no"),
        *("--use_hf", "true", "--check_model", "false", "--report_to", "none"),
        *("--dataset_num_proc", "1", "--dataloader_num_workers", "0"),
    ]
    command = f'swift rlhf --external_plugins "$(skinflow plugin)" {shlex.join(arguments)}'
    programs = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-c", command],
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(third_party),
            "SKINFLOW_OPTIONS": '{"hedging": {"most": 1}, "ranked_diagnosis": {"taxonomy": "demo"}}',
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    log = (tmp_path / "out" / "logging.jsonl").read_text()
    assert log.count('"rewards/hedging/mean"') >= 2
    assert log.count('"rewards/ranked_diagnosis/mean"') >= 2

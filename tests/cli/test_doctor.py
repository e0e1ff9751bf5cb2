"""`skinflow doctor`: a healthy machine, and one fault at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins import torchvision_cpu
from skinflow_plugins.cli import doctor


def found(text: str) -> list[doctor.Finding]:
    return [each for each in doctor.findings() if text in each.what]


def test_every_line_has_a_state(skinflow: Callable[..., Any]) -> None:
    done = skinflow("doctor", "quickstart", "seed=1")
    assert (done.code, done.err) == (0, "")
    *lines, empty, verdict = done.out.splitlines()
    assert (empty, verdict) == ("", "nothing would stop a run")
    assert all(line.startswith(("ok       ", "warning  ", "         ")) for line in lines)
    text = done.out
    for name in ("python 3.", "torch 2.", "ms-swift 4.", "transformers 5.", "trl ", "peft ", "msgspec "):
        assert f"ok       {name}" in text
    assert "ok       qwen-vl-utils " in text
    assert "plug-in builtin from skinflow-plugins" in text
    assert f"run folders can be written below {Path.cwd() / 'runs'}" in text
    assert "base model tiny:qwen2_5_vl: built here at random, no download" in text


def test_a_missing_need_is_a_problem(skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "msgspec" else real(name))
    done = skinflow("doctor")
    assert done.code == 1
    assert (
        "problem  msgspec is not installed: swift.rlhf_trainers imports it and does not declare it\n"
        in done.out
    )
    assert "pip install 'msgspec>=0.18'" in done.out
    assert done.out.endswith("a problem would stop a run\n")


def test_another_version_is_a_warning(skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: "5.1.0" if name == "ms-swift" else real(name))
    (finding,) = found("ms-swift 5.1.0: the versions that we know to work are ")
    assert finding.state == "warning"


def test_torchvision_without_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_cpu, "diagnose", lambda: "torch is a CPU build; run `this`")
    (finding,) = found("torch is a CPU build; run `this`")
    assert finding.state == "problem"


def test_no_place_for_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("a file")
    (finding,) = found("cannot be written to")
    assert finding.state == "problem"
    assert "-o" in finding.todo


def test_a_wrong_recipe_is_a_problem(skinflow: Callable[..., Any]) -> None:
    done = skinflow("doctor", "quickstart", "taxonomy=dmo")
    assert done.code == 1
    assert "problem  command line: taxonomy: unknown taxonomy 'dmo'" in done.out


def test_a_base_model_that_is_not_here(
    skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed = ["quickstart", "model.base=nobody-here/Qwen2.5-VL-7B-nothing"]
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    done = skinflow("doctor", *typed)
    assert done.code == 0
    assert "warning  base model nobody-here/Qwen2.5-VL-7B-nothing is not on this machine\n" in done.out
    assert "hf download nobody-here/Qwen2.5-VL-7B-nothing" in done.out
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert skinflow("doctor", *typed).code == 1

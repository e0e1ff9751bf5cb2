"""`skinflow doctor` on kernels: those of the machine, described as plain data, and those of each stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.cli import doctor, doctor_speed
from skinflow_plugins.recipe import load
from skinflow_plugins.recipe.machine import FLASH_ATTN, LIGER, Machine, Package

TINY = Path(__file__).parents[1] / "bridge" / "tiny.yaml"
BOTH = {FLASH_ATTN: Package("2.8.3"), LIGER: Package("0.8.5")}
H100 = Machine("NVIDIA H100 80GB HBM3", (9, 0), 1, BOTH)


@pytest.mark.parametrize(
    ("there", "name", "state", "what", "todo"),
    [
        (H100, FLASH_ATTN, "ok", "flash-attn 2.8.3, usable on NVIDIA H100 80GB HBM3", ""),
        (H100, LIGER, "ok", "liger-kernel 0.8.5, usable on NVIDIA H100 80GB HBM3", ""),
        (
            replace(H100, packages={}),
            FLASH_ATTN,
            "ok",
            "flash-attn is not installed: attention is torch's own (sdpa) "
            "(pip install 'skinflow-plugins[gpu]')",
            "",
        ),
        (
            replace(H100, packages={}),
            LIGER,
            "ok",
            "liger-kernel is not installed: the GRPO loss is swift's own "
            "(pip install 'skinflow-plugins[gpu]')",
            "",
        ),
        (
            Machine(),
            FLASH_ATTN,
            "ok",
            "flash-attn is not installed, and would be of no use: there is no NVIDIA GPU",
            "",
        ),
        (
            Machine(packages=BOTH),
            LIGER,
            "ok",
            "liger-kernel 0.8.5 is of no use here: there is no NVIDIA GPU",
            "",
        ),
        (
            replace(H100, gpu="Tesla T4", capability=(7, 5)),
            FLASH_ATTN,
            "ok",
            "flash-attn 2.8.3 is of no use here: Tesla T4 has compute capability 7.5, "
            "and flash-attn needs 8.0",
            "",
        ),
        (
            replace(H100, packages={FLASH_ATTN: Package("2.8.3", "ImportError: undefined symbol")}),
            FLASH_ATTN,
            "warning",
            "flash-attn 2.8.3 cannot be imported: ImportError: undefined symbol",
            "install the build that belongs to this torch: "
            "pip install --no-build-isolation --force-reinstall --no-deps flash-attn",
        ),
        (
            replace(H100, packages={LIGER: Package("0.6.0")}),
            LIGER,
            "warning",
            "liger-kernel 0.6.0 is older than 0.7.0 (pip install 'skinflow-plugins[gpu]' --upgrade)",
            "",
        ),
    ],
)
def test_a_package_for_the_gpu(there: Machine, name: str, state: str, what: str, todo: str) -> None:
    finding = doctor_speed.package(there, name)
    assert (finding.state, finding.what, finding.todo) == (state, what, todo)


def test_the_third_flash_attention_is_named_where_it_is_installed() -> None:
    named = [finding.what.split()[0] for finding in doctor_speed.findings(Machine())]
    assert named[:2] == [FLASH_ATTN, LIGER]
    third = replace(H100, packages={"flash-attn-3": Package("3.0.0")})
    assert doctor_speed.package(third, "flash-attn-3").what == "flash-attn-3 3.0.0, usable on " + str(H100)


@pytest.fixture
def no_backend_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKINFLOW_BACKEND", raising=False)


@pytest.mark.usefixtures("no_backend_named")
def test_which_way_the_dynamic_layers_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = doctor_speed.kernels(Machine())
    assert finding.state == "ok"
    assert finding.what.startswith("dynamic layers: torch (not triton: ")
    monkeypatch.setenv("SKINFLOW_BACKEND", "reference")
    (finding,) = doctor_speed.kernels(Machine())
    assert finding.state == "ok"
    assert finding.what.startswith("dynamic layers: reference (not triton: ")
    monkeypatch.setenv("SKINFLOW_BACKEND", "trition")
    (finding,) = doctor_speed.kernels(Machine())
    assert finding.state == "problem"
    assert "SKINFLOW_BACKEND 'trition' is unknown" in finding.what
    assert finding.todo == "unset SKINFLOW_BACKEND"


@pytest.mark.usefixtures("no_backend_named")
@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton's kernels run here")
def test_a_gpu_without_triton_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = doctor_speed.kernels(H100)
    assert (finding.state, finding.todo) == ("warning", "they train as well, and more slowly")
    assert finding.what.startswith("dynamic layers: torch (not triton: ")
    monkeypatch.setenv("SKINFLOW_BACKEND", "torch")  # who chose it knows
    (finding,) = doctor_speed.kernels(H100)
    assert (finding.state, finding.todo) == ("ok", "")


REAL = ("model={base: nobody-here/Qwen2.5-VL-7B-nothing, family: qwen2_5_vl}",)


def test_what_each_stage_would_use(skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # else that nobody has the base is a problem
    done = skinflow("doctor", TINY, *REAL, "--no-step")
    assert done.code == 0
    missing = "CUDA_VISIBLE_DEVICES hides every GPU"
    assert (
        "ok       stage warmup (sft): attention sdpa\n"
        f"         not flash_attn: {missing}\n"
        "ok       stage caption (grpo): attention sdpa, loss of swift\n"
        f"         not flash_attn: {missing}\n"
        f"         not Liger's loss: {missing}\n"
    ) in done.out


def stages(*overrides: str, machine: Machine = H100) -> list[doctor.Finding]:
    loaded = load(TINY, [*REAL, *overrides])
    return list(doctor_speed.of_the_stages(loaded.recipe, catalogue(), machine))


def test_what_each_stage_would_use_on_a_gpu() -> None:
    warmup, caption, _ = stages()
    assert warmup.what == "stage warmup (sft): attention flash_attention_2"
    assert caption.what == "stage caption (grpo): attention flash_attention_2, loss of Liger"


def test_an_attention_under_swift_that_is_missing_is_a_warning() -> None:
    given = "swift.attn_impl=flash_attention_2"
    found = stages(given, machine=Machine())
    assert {(each.state, each.todo) for each in found} == {
        ("warning", "not on this machine: there is no NVIDIA GPU")
    }
    assert {each.state for each in stages(given)} == {"ok"}


@pytest.mark.parametrize(
    ("speed", "what"), [("attention: flash_attn", "flash_attn"), ("liger: true", "Liger's loss")]
)
def test_what_is_asked_for_by_name_and_missing_is_a_problem(
    skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, speed: str, what: str
) -> None:
    """`run` refuses it before anything is written; a plan for another machine can still be made."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    typed = [TINY, *REAL, f"speed={{{speed}}}"]
    key = f"speed.{speed.partition(':')[0]}"
    text = f"command line: {key}: not {what} on this machine: CUDA_VISIBLE_DEVICES hides every GPU\n"
    done = skinflow("doctor", *typed)
    assert done.code == 1
    assert f"problem  {text}         write `auto`, or leave it out\n" in done.out
    done = skinflow("run", *typed)
    assert (done.code, done.err) == (2, f"skinflow: {text}    write `auto`, or leave it out\n")
    assert skinflow("validate", *typed).code == 0
    done = skinflow("plan", *typed)
    assert done.code == 0
    assert "; not on this machine: CUDA_VISIBLE_DEVICES hides every GPU\n" in done.out
    assert list(Path.cwd().iterdir()) == []

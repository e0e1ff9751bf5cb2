from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from skinflow_kernels import backends, explain, triton_support, virtual_width_linear
from skinflow_kernels.backends import VARIABLE
from skinflow_kernels.virtual_width.dispatch import TABLE, VirtualWidthBackend

Make = Callable[..., dict[str, Any]]


def forget() -> None:
    """What was asked of this machine once."""
    triton_support._missing.cache_clear()
    triton_support._without_a_gpu.cache_clear()


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    forget()
    yield
    forget()


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend ahead of all others that takes float32 only, and gives sevens."""
    backend = VirtualWidthBackend(
        "picky",
        lambda where: "" if where.dtype == torch.float32 else f"{where.dtype} is not to my taste",
        forward=lambda call: torch.full((len(call.x), len(call.weight)), 7.0),
    )
    monkeypatch.setattr("skinflow_kernels.virtual_width.dispatch.TABLE", [backend, *TABLE])


def test_the_names() -> None:
    assert backends() == ["triton", "torch", "reference"]


@pytest.mark.usefixtures("picky")
def test_auto_takes_the_first_that_can(layer: Make) -> None:
    assert explain(dtype=torch.float32).backend == "picky"
    assert (virtual_width_linear(**layer([4])) == 7).all()
    made = layer([3], dtype=torch.bfloat16)
    assert torch.equal(virtual_width_linear(**made), virtual_width_linear(**made, backend="torch"))


@pytest.mark.usefixtures("picky")
def test_a_named_backend_that_cannot_says_why(layer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = layer([3], dtype=torch.float64)
    said = "'picky' cannot compute this call: torch.float64 is not to my taste"
    with pytest.raises(ValueError, match=f"^backend {said}"):
        virtual_width_linear(**made, backend="picky")
    monkeypatch.setenv(VARIABLE, "picky")
    with pytest.raises(ValueError, match=f"^{VARIABLE} {said}"):
        virtual_width_linear(**made)


@pytest.mark.usefixtures("picky")
def test_the_variable_overrides_auto_and_nothing_else(layer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "reference")
    made = layer([4])
    assert torch.equal(virtual_width_linear(**made), virtual_width_linear(**made, backend="reference"))
    assert (virtual_width_linear(**made, backend="picky") == 7).all()
    monkeypatch.setenv(VARIABLE, "auto")
    assert (virtual_width_linear(**made) == 7).all()


def test_an_unknown_name_is_named_with_the_nearest_known(
    layer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"backend 'torhc' is unknown.*Did you mean 'torch'"):
        virtual_width_linear(**layer([4]), backend="torhc")
    monkeypatch.setenv(VARIABLE, "nothing")
    with pytest.raises(ValueError, match=rf"{VARIABLE} 'nothing' is unknown; there are auto, .*torch"):
        explain()


@pytest.mark.usefixtures("picky")
def test_the_explanation_has_a_reason_for_every_backend_that_does_not_run() -> None:
    told = explain(dtype=torch.float64)
    assert told.backend == "torch"
    assert told.because == "the first that can"
    assert told.reasons == {
        "picky": "torch.float64 is not to my taste",
        "triton": "the kernels compute in float32, bfloat16 and float16, not in torch.float64",
        "reference": "comes after 'torch'",
    }
    assert str(told).splitlines()[:2] == [
        "torch      runs: the first that can",
        "picky      torch.float64 is not to my taste",
    ]
    named = explain(dtype=torch.float32, backend="torch")
    assert named.because == "backend names it"
    assert named.reasons["picky"] == named.reasons["reference"] == "backend names 'torch'"


# --- the conditions of the Triton path ----------------------------------------------------------------------


@pytest.fixture
def triton_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let an installed Triton be of that version, compiled and not interpreted."""
    import triton

    def make(version: str) -> None:
        monkeypatch.setattr(triton, "__version__", version)
        monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
        forget()

    return make


def test_on_a_cpu_it_says_where_the_tokens_are(triton_as: Callable[[str], None]) -> None:
    triton_as("3.9.0")
    told = explain("cpu")
    assert told.backend == "torch"
    assert told.reasons["triton"] == "the tokens are on the cpu, and Triton's kernels run on NVIDIA GPUs"


def test_a_triton_that_is_too_old(triton_as: Callable[[str], None], layer: Make) -> None:
    triton_as("3.1.0")
    too_old = "triton 3.1.0 is too old; expected 3.6 or newer: pip install -U triton"
    assert explain("cuda").reasons["triton"] == too_old
    with pytest.raises(ValueError, match=r"cannot compute this call: triton 3\.1\.0 is too old"):
        virtual_width_linear(**layer([4]), backend="triton")


def test_a_triton_that_is_missing(monkeypatch: pytest.MonkeyPatch, layer: Make) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "triton", None)  # how Python remembers that there is none
    forget()
    told = explain("cuda")
    assert told.backend == "torch"
    assert told.reasons["triton"].startswith("triton cannot be imported (")
    assert virtual_width_linear(**layer([4])).shape == (4, 37)


def test_nothing_imports_triton_before_it_is_used() -> None:
    import subprocess
    import sys

    program = "import sys; sys.modules['triton'] = None; import skinflow_kernels; skinflow_kernels.explain()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gpus_before_ampere(triton_as: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    triton_as("3.9.0")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert explain("cuda").reasons["triton"] == "torch finds no CUDA device"
    forget()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    told = explain("cuda").reasons["triton"]
    assert told == "the GPU has compute capability 7.5; expected 8.0 or newer"
    forget()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert explain("cuda").backend == "triton"


def test_the_interpreter_runs_only_by_name() -> None:
    if not triton_support.interpreted():
        pytest.skip("Triton is not interpreted in this session")
    assert explain("cpu").reasons["triton"].startswith("Triton's interpreter")
    assert explain("cpu", backend="triton").backend == "triton"

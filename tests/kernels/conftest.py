"""Random layers, the one table of tolerances, and scratch memory full of NaN."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor

from skinflow_kernels import band_thresholds, split_bands, triton_support
from skinflow_kernels.backends import VARIABLE
from skinflow_kernels.virtual_width import slabs, tilings

# Without it cuBLAS refuses to be deterministic; it is read once, with the first product.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# Largest ||found - expected|| / ||expected||, by operation and dtype. The unit is half the spacing of numbers
# near 1: 1.1e-16, 6e-8, 3.9e-3 (bfloat16), 4.9e-4 (float16); a rounding's share of a norm is about 0.4 units.
TOLERANCE = {
    # Sums of up to a few hundred products in another order: some units. Cancellation is what the rest is for.
    ("layer", torch.float64): 1e-12,
    ("layer", torch.float32): 5e-6,
    # x gated, weight mixed, product, output gated, bias added: five roundings, where the definition has one.
    ("layer", torch.bfloat16): 1e-2,
    ("layer", torch.float16): 1.3e-3,
    # A mean of up to a hundred tokens; its gradient is rounded once.
    ("means", torch.float32): 1e-6,
    ("means", torch.bfloat16): 6e-3,
    ("means", torch.float16): 7e-4,
    # Formulas with an exponential; in bfloat16 inputs are exact and outputs rounded once (or cut off).
    ("activation", torch.float32): 2e-6,
    ("activation", torch.bfloat16): 8e-3,
    # Two small layers; tanh by an exponential, whose error grows where a gain is near its bound.
    ("gains", torch.float32): 5e-6,
    ("gains", torch.bfloat16): 6e-3,
    # Transforms there and back: log2 of the size times a unit.
    ("bands", torch.float64): 1e-12,
    ("bands", torch.float32): 2e-6,
    # Stored once in bfloat16, of values computed in float32: one rounding of each part, and their sum's.
    ("bands", torch.bfloat16): 6e-3,
    # Transform, gates, product, and all of it backward through a router; in float32 throughout.
    ("published", torch.float64): 1e-11,
    ("published", torch.float32): 2e-5,
}


@pytest.fixture(autouse=True)
def _memory_full_of_nan() -> Iterator[None]:
    """torch.empty holds NaN, so that a result that was never written is seen."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def assert_close() -> Callable[..., None]:
    def check(
        name: str, found: Tensor, expected: Tensor, operation: str, dtype: torch.dtype, times: float = 1
    ) -> None:
        assert found.shape == expected.shape, name
        assert found.isfinite().all(), f"{name} is not finite"
        scale = expected.detach().double().norm()
        error = (found.detach().double() - expected.detach().double()).norm()
        most = TOLERANCE[operation, dtype] * times
        assert error <= most * scale, f"{name}: error ratio {error / scale:.1e} exceeds {most:.1e}"

    return check


@pytest.fixture
def layer() -> Callable[..., dict[str, Any]]:
    """The arguments of a random layer; every tensor but segments asks for its gradient."""

    def make(
        lengths: list[int],
        columns: int = 13,
        rows: int = 37,
        bands: int = 3,
        dtype: torch.dtype = torch.float32,
        weight_dtype: torch.dtype | None = None,
        bias: bool = True,
        gains: bool = True,
    ) -> dict[str, Any]:
        weight_dtype = weight_dtype or dtype
        wide = torch.float64 if dtype == torch.float64 else torch.float32

        def normal(*shape: int, dtype: torch.dtype, around: float = 0.0, scale: float = 1.0) -> Tensor:
            return (around + scale * torch.randn(shape)).to(dtype).requires_grad_()

        images = len(lengths)
        weight = normal(rows, columns, dtype=weight_dtype)
        bases = split_bands(weight.detach(), band_thresholds(rows, columns, bands)).requires_grad_()
        optional = {}
        if bias:
            optional["bias"] = normal(rows, dtype=weight_dtype)
        if gains:
            optional["input_gain"] = normal(images, columns, dtype=wide, around=1, scale=0.3)
            optional["output_gain"] = normal(images, rows, dtype=wide, around=1, scale=0.3)
        return {
            "x": normal(sum(lengths), columns, dtype=dtype),
            "segments": torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
            "weight": weight,
            "bases": bases,
            "band_delta": normal(images, bands, dtype=wide, scale=0.5),
            **optional,
        }

    return make


@pytest.fixture
def surrounded() -> Callable[[Tensor], Tensor]:
    """The same numbers with NaN on all sides: who reads beyond them is seen. No two have equal strides."""
    distance = 35

    def make(tensor: Tensor) -> Tensor:
        nonlocal distance
        distance += 1
        wide = tensor.new_full([size + distance for size in tensor.shape], torch.nan)
        view = wide[tuple(slice(1, 1 + size) for size in tensor.shape)]
        return view.copy_(tensor.detach()).detach().requires_grad_(tensor.requires_grad)

    return make


@pytest.fixture
def narrow_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """37 output rows take three slabs, the last of them smaller."""
    monkeypatch.setattr(slabs, "FEWEST_ROWS", 16)


@pytest.fixture(params=["interpreted", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        return "cuda"
    if not triton_support.interpreted():
        pytest.skip("Triton is compiled in this session (it is interpreted where there is no GPU)")
    return "cpu"


@pytest.fixture
def sizes() -> Iterator[Callable[..., None]]:
    """Sets sizes of tiles, for one test."""
    yield tilings.override
    tilings.override()


@pytest.fixture
def by_triton(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, the Triton kernels compute whatever they can."""
    return lambda: monkeypatch.setenv(VARIABLE, "triton")

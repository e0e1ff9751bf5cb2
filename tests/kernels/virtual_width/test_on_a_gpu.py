"""What only a GPU can show: real sizes, CUDA graphs, waiting, other devices, 64-bit offsets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor

from skinflow_kernels import activated_means, router_gains, virtual_width_linear
from skinflow_kernels import virtual_width_linear_reference as reference

Make = Callable[..., dict[str, Any]]
Close = Callable[..., None]


@pytest.fixture(autouse=True)
def _cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


pytestmark = pytest.mark.gpu


def moved(layer: dict[str, Any], device: str) -> dict[str, Any]:
    return {
        name: tensor.detach().to(device).requires_grad_(tensor.requires_grad)
        for name, tensor in layer.items()
    }


def by_triton(**layer: Any) -> Tensor:
    return virtual_width_linear(**layer, backend="triton")


def output_and_gradients(
    layer: dict[str, Any], function: Callable[..., Tensor] = by_triton
) -> dict[str, Tensor]:
    y = function(**layer)
    trained = {name: t for name, t in layer.items() if t.requires_grad}
    generator = torch.Generator(y.device).manual_seed(1)
    dy = torch.randn(y.shape, generator=generator, device=y.device).to(y.dtype)
    return {"output": y} | dict(zip(trained, torch.autograd.grad(y, list(trained.values()), dy), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("bases_follow", [True, False])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("columns", "rows"), [(1280, 3420), (3420, 1280), (1152, 4304)])
def test_real_sizes(
    columns: int,
    rows: int,
    fused: bool,
    bases_follow: bool,
    dtype: torch.dtype,
    layer: Make,
    assert_close: Close,
    sizes: Callable[..., None],
) -> None:
    """Tiles of every kind, several slabs and groups of images: the interpreter has no time for them."""
    sizes(few_tokens=10**6 if fused else 0, slab_bytes=6 * 2**20)
    made = moved(layer([700, 77, 0, 1, 300], columns=columns, rows=rows, bands=4, dtype=dtype), "cuda")
    if not bases_follow:
        made["bases"] = made["bases"].detach()
    found = output_and_gradients(made)
    for name, expected in output_and_gradients(made, reference).items():
        # Sums of thousands of products in float32, in another order.
        assert_close(name, found[name], expected, "layer", dtype, times=4 if dtype == torch.float32 else 1)


@pytest.mark.parametrize("bases_follow", [False, True])
@pytest.mark.parametrize(
    ("lengths", "columns", "rows"), [([1024, 77, 1], 1280, 3420), ([40] * 9, 1152, 4304)]
)
def test_a_cuda_graph_replays_other_images(
    lengths: list[int], columns: int, rows: int, bases_follow: bool, layer: Make
) -> None:
    made = moved(layer(lengths, columns=columns, rows=rows, bands=4, dtype=torch.bfloat16), "cuda")
    if not bases_follow:
        made["bases"] = made["bases"].detach()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        with_ones(made)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = with_ones(made)
    # The same memory, other images: as many tokens and images, otherwise divided.
    with torch.no_grad():
        made["segments"].copy_(torch.tensor([0, *accumulate(reversed(lengths))]))
        made["x"].copy_(torch.randn_like(made["x"]))
    graph.replay()
    for name, tensor in with_ones(made).items():
        assert torch.equal(found[name], tensor), name


def with_ones(layer: dict[str, Any]) -> dict[str, Tensor]:
    """Output and gradients, without a generator: a graph would have to know it."""
    y = by_triton(**layer)
    trained = {name: t for name, t in layer.items() if t.requires_grad}
    return {"output": y} | dict(
        zip(trained, torch.autograd.grad(y, list(trained.values()), torch.ones_like(y)), strict=True)
    )


def whole_layer(device: str, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The gradient of the tokens of a layer behind its own activation, means and router."""
    torch.manual_seed(3)

    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape).to(device, dtype)

    segments = torch.tensor([0, 300, 300, 340], device=device)
    up, gate = normal(340, 64, dtype=dtype).requires_grad_(), normal(340, 64, dtype=dtype)
    hidden, means = activated_means(up, gate, segments, activation="silu")
    router = normal(16, 64), normal(16), [normal(2, 16), normal(64, 16)], [normal(2), normal(64)], [0.0, 1.0]
    delta, gain = router_gains(means, *router)
    weight, bases = normal(80, 64, dtype=dtype), normal(2, 80, 64, dtype=dtype)
    y = virtual_width_linear(hidden, segments, weight, bases, delta, input_gain=gain)
    return torch.autograd.grad(y.float().square().sum(), up)[0]


def test_nothing_waits_for_the_gpu(layer: Make) -> None:
    made = moved(layer([300, 40], columns=64, rows=80), "cuda")
    with_ones(made)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with_ones(made)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_kernels_run_on_the_device_of_the_tokens() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    with torch.cuda.device(0):
        assert torch.equal(whole_layer("cuda:1").cpu(), whole_layer("cuda:0").cpu())


def test_kernels_run_on_the_current_stream() -> None:
    """Behind a long wait of another stream they find what is written there, and not what was before."""
    expected = whole_layer("cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10**8)
        found = whole_layer("cuda")
    torch.cuda.current_stream().wait_stream(stream)
    assert torch.equal(found, expected)


def test_offsets_beyond_thirty_two_bits() -> None:
    tokens, columns, rows = 2**31 // 64 + 4096, 64, 16
    x = torch.zeros(tokens, columns, dtype=torch.bfloat16, device="cuda")
    x[-1] = 1
    weight = torch.randn(rows, columns, dtype=torch.bfloat16, device="cuda")
    segments = torch.tensor([0, tokens - 16384, tokens], device="cuda")
    delta = torch.zeros(2, 1, device="cuda")
    y = virtual_width_linear(x, segments, weight, weight[None], delta, backend="triton")
    expected = weight.float().sum(1).to(torch.bfloat16)
    assert not y[:-1].any()
    torch.testing.assert_close(y[-1], expected, rtol=2e-2, atol=2e-2)

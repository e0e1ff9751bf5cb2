"""The kernels, output and gradients, against the definition: interpreted on a CPU, compiled on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from skinflow_kernels import triton_support, virtual_width_linear, virtual_width_linear_reference
from skinflow_kernels.virtual_width import triton_path
from skinflow_kernels.virtual_width.call import Call
from skinflow_kernels.virtual_width.launching import parts

Make = Callable[..., dict[str, Any]]
Close = Callable[..., None]

ALL = ("x", "weight", "bases", "band_delta", "bias", "input_gain", "output_gain")
PACKS = {
    "one image": [21],
    "equal": [17, 17],
    "ragged": [1, 19, 6],
    "with empty images": [0, 17, 0, 0, 4, 0],
    "few tokens each": [1, 2, 1, 3],
}


def moved(layer: dict[str, Any], device: str) -> dict[str, Any]:
    return {
        name: tensor.detach().to(device).requires_grad_(tensor.requires_grad)
        for name, tensor in layer.items()
    }


def output_and_gradients(function: Callable[..., Tensor], layer: dict[str, Any]) -> dict[str, Tensor]:
    """By name: the output, and the gradient of every argument that has one."""
    y = function(**layer)
    trained = {name: t for name, t in layer.items() if t.requires_grad}
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return {"output": y} | dict(zip(trained, torch.autograd.grad(y, list(trained.values()), dy), strict=True))


def by_triton(**layer: Any) -> Tensor:
    return virtual_width_linear(**layer, backend="triton")


def compared(made: dict[str, Any], device: str, dtype: torch.dtype, assert_close: Close) -> None:
    expected = output_and_gradients(virtual_width_linear_reference, made)
    found = output_and_gradients(by_triton, moved(made, device))
    # The interpreter cuts digits off where a GPU rounds them: twice the error.
    cut = 2 if device == "cpu" and dtype == torch.bfloat16 else 1
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert_close(name, found[name].cpu(), tensor, "layer", dtype, times=cut)


@pytest.mark.parametrize("frozen", [(), ("bases",), ("bases", "weight", "bias")], ids=str)
@pytest.mark.parametrize("pack", PACKS)
def test_output_and_every_gradient(
    pack: str, frozen: tuple[str, ...], device: str, layer: Make, assert_close: Close
) -> None:
    made = layer(PACKS[pack], columns=19, rows=33)
    for name in frozen:
        made[name] = made[name].detach()
    compared(made, device, torch.float32, assert_close)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pack", ["ragged", "few tokens each"])
def test_sixteen_bits(pack: str, dtype: torch.dtype, device: str, layer: Make, assert_close: Close) -> None:
    compared(layer(PACKS[pack], columns=19, rows=33, dtype=dtype), device, dtype, assert_close)


@pytest.mark.parametrize("gains", [(), ("input_gain",), ("output_gain",)])
@pytest.mark.parametrize("bias", [False, True])
def test_without_some_of_bias_and_gains(
    gains: tuple[str, ...], bias: bool, device: str, layer: Make, assert_close: Close
) -> None:
    made = layer([19, 3], bias=bias)
    made = {name: t for name, t in made.items() if name in gains or not name.endswith("gain")}
    compared(made, device, torch.float32, assert_close)


@pytest.mark.parametrize("alone", ALL)
def test_one_gradient_alone_is_that_of_all(alone: str, device: str, layer: Make, assert_close: Close) -> None:
    made = layer([19, 3, 3])
    alike = {name: t if name == alone else t.detach() for name, t in made.items()}
    compared(alike, device, torch.float32, assert_close)


@pytest.mark.parametrize("bands", [1, 2, 4, 7, 64])
def test_any_number_of_bands(bands: int, device: str, layer: Make, assert_close: Close) -> None:
    compared(layer([3, 18], columns=19, rows=15, bands=bands), device, torch.float32, assert_close)


def test_many_images(device: str, layer: Make, assert_close: Close) -> None:
    made = layer([1 + s % 3 for s in range(256)], columns=5, rows=4, bands=2, gains=False, bias=False)
    compared(made | {"bases": made["bases"].detach()}, device, torch.float32, assert_close)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    columns=st.integers(3, 34),
    rows=st.integers(3, 34),
    bands=st.integers(1, 4),
    fused=st.booleans(),
)
def test_any_shape_by_either_algorithm(
    lengths: list[int],
    columns: int,
    rows: int,
    bands: int,
    fused: bool,
    device: str,
    layer: Make,
    assert_close: Close,
    sizes: Callable[..., None],
) -> None:
    sizes(few_tokens=10**6 if fused else 0)
    compared(layer(lengths, columns=columns, rows=rows, bands=bands), device, torch.float32, assert_close)


@pytest.mark.parametrize("room", [1, 40, 100, 10**6])
def test_weights_of_some_images_at_a_time(
    room: int, device: str, layer: Make, assert_close: Close, sizes: Callable[..., None]
) -> None:
    """From one tile of one image at a time to all of all images."""
    made = layer([9, 0, 7, 30, 2], columns=19, rows=33)
    sizes(few_tokens=0, columns=16, slab_columns=16, slab_bytes=room * 19 * 4)
    compared(made, device, torch.float32, assert_close)


@pytest.mark.parametrize("fused", [True, False])
def test_sizes_with_a_common_power_of_two(
    fused: bool, device: str, layer: Make, assert_close: Close, sizes: Callable[..., None]
) -> None:
    sizes(few_tokens=10**6 if fused else 0)
    compared(layer([9, 21], columns=48, rows=36), device, torch.float32, assert_close)


def test_without_amplitude_the_weight_is_bit_for_bit_itself(
    device: str, layer: Make, sizes: Callable[..., None]
) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for few_tokens in (0, 10**6):
            sizes(few_tokens=few_tokens)
            made = moved(layer([13, 13], dtype=dtype, bias=False, gains=False), device)
            made["band_delta"] = torch.zeros_like(made["band_delta"])
            # A product with the identity has one term and no rounding: each output row is a column.
            made["x"] = torch.eye(13, dtype=dtype, device=device).repeat(2, 1)
            assert torch.equal(by_triton(**made), made["weight"].T.repeat(2, 1))


def every_second(tensor: Tensor) -> Tensor:
    """The same numbers, with a distance of 2 between neighbours."""
    return tensor.detach().repeat_interleave(2, -1)[..., ::2].requires_grad_(tensor.requires_grad)


def turned(tensor: Tensor) -> Tensor:
    """The same numbers, column by column."""
    return tensor.detach().mT.contiguous().mT.requires_grad_(tensor.requires_grad)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("laid_out", ["every second", "turned", "surrounded"])
def test_strided_inputs(
    laid_out: str,
    fused: bool,
    device: str,
    layer: Make,
    sizes: Callable[..., None],
    surrounded: Callable[[Tensor], Tensor],
) -> None:
    sizes(few_tokens=10**6 if fused else 0)
    made = moved(layer([20, 3]), device)
    expected = output_and_gradients(by_triton, made)
    change = {"every second": every_second, "turned": turned, "surrounded": surrounded}[laid_out]
    strided = {
        name: change(tensor) if tensor.dim() > 1 or laid_out == "every second" else tensor
        for name, tensor in made.items()
    }
    for name, tensor in output_and_gradients(by_triton, strided).items():
        assert torch.equal(tensor, expected[name]), name


def test_a_group_of_images_leaves_the_others_alone(
    layer: Make, sizes: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first of several groups nothing is written but the first columns of its own images."""
    if not triton_support.interpreted():
        pytest.skip("on a GPU memory that was never written is not full of NaN in all versions of torch")
    sizes(few_tokens=0, columns=16, slab_columns=16, slab_bytes=2 * 16 * 19 * 4)
    made = {name: tensor.detach() for name, tensor in layer([9, 5, 7, 30], columns=19, rows=33).items()}
    whole = triton_path.forward(Call(**made))
    monkeypatch.setattr(triton_path, "parts", lambda *sizes: list(parts(*sizes))[:1])
    found = triton_path.forward(Call(**made))
    assert torch.equal(found[:14, :16], whole[:14, :16])
    assert found[14:].isnan().all()
    assert found[:, 16:].isnan().all()


def test_impossible_segments_are_found_on_the_device(layer: Make) -> None:
    """What a GPU would assert later; on a CPU the assertion raises at once."""
    if not triton_support.interpreted():
        pytest.skip("a failed assertion would take the whole session's GPU away")
    made = {name: tensor.detach() for name, tensor in layer([20, 3]).items()}
    made["segments"] = torch.tensor([0, 20, 22])
    with pytest.raises(RuntimeError, match="end at the number of tokens"):
        triton_path.forward(Call(**made))


def test_gradients_are_the_same_bits_every_time(device: str, layer: Make) -> None:
    made = moved(layer([40, 3, 20]), device)
    first, second = output_and_gradients(by_triton, made), output_and_gradients(by_triton, made)
    for name, tensor in first.items():
        assert torch.equal(second[name], tensor), name


def test_an_expanded_gradient(device: str, layer: Make, assert_close: Close) -> None:
    made = layer([19, 3])
    expected = torch.autograd.grad(virtual_width_linear_reference(**made).sum(), made["x"])[0]
    other = moved(made, device)
    found = torch.autograd.grad(by_triton(**other).sum(), other["x"])[0]
    assert_close("x", found.cpu(), expected, "layer", torch.float32)


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_no_tokens_at_all(lengths: list[int], device: str, layer: Make) -> None:
    found = output_and_gradients(by_triton, moved(layer(lengths), device))
    assert found["output"].shape == (0, 37)
    for name, gradient in found.items():
        assert torch.equal(gradient, torch.zeros_like(gradient)), name


def test_autocast_keeps_the_weight_whole(device: str, layer: Make, assert_close: Close) -> None:
    made = layer([18, 6])
    expected = output_and_gradients(virtual_width_linear_reference, made)
    with torch.autocast(device, torch.bfloat16):
        found = output_and_gradients(by_triton, moved(made, device))
    assert found["output"].dtype == torch.bfloat16
    for name, tensor in found.items():
        assert name == "output" or tensor.dtype == torch.float32
        assert_close(name, tensor.cpu(), expected[name], "layer", torch.bfloat16, times=2)

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from skinflow_kernels import router_gains

Arguments = dict[str, Any]
SIZES = (70, 3, 45)  # of the heads: input channels, bands, output channels


def arguments(images: int = 3, width: int = 19, dtype: torch.dtype = torch.float32) -> Arguments:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape).to(dtype).requires_grad_()

    return {
        "means": torch.randn(images, 33).requires_grad_(),
        "reduce_weight": normal(width, 33),
        "norm_weight": normal(width),
        "head_weights": [normal(size, width) for size in SIZES],
        "head_biases": [normal(size) for size in SIZES],
        "around": [1.0, 0.0, 1.0],
    }


def output_and_gradients(given: Arguments, device: str = "cpu") -> dict[str, Tensor]:
    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(each) for each in value]
        return value.detach().to(device).requires_grad_() if isinstance(value, Tensor) else value

    given = {name: moved(value) for name, value in given.items()}
    gains = router_gains(**given)
    named = {name: given[name] for name in ("means", "reduce_weight", "norm_weight")}
    for kind in ("head_weights", "head_biases"):
        named |= {f"{kind}[{i}]": each for i, each in enumerate(given[kind])}
    generator = torch.Generator().manual_seed(1)
    d = [torch.randn(gain.shape, generator=generator).to(gain) for gain in gains]
    found = torch.autograd.grad(gains, list(named.values()), d)
    return {f"gains[{i}]": gain for i, gain in enumerate(gains)} | dict(zip(named, found, strict=True))


def test_they_are_two_sigmoids() -> None:
    given = arguments()
    hidden = torch.nn.functional.rms_norm(
        given["means"] @ given["reduce_weight"].T, (19,), given["norm_weight"], eps=1e-6
    ).relu()
    for gain, weight, bias, middle in zip(
        router_gains(**given), given["head_weights"], given["head_biases"], given["around"], strict=True
    ):
        torch.testing.assert_close(gain, 2 * torch.sigmoid(hidden @ weight.T + bias) - 1 + middle)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [16, 19])
def test_by_triton(
    width: int,
    dtype: torch.dtype,
    device: str,
    assert_close: Callable[..., None],
    by_triton: Callable[[], None],
) -> None:
    given = arguments(width=width, dtype=dtype)
    expected = output_and_gradients(given)
    by_triton()
    for name, tensor in output_and_gradients(given, device).items():
        assert tensor.dtype == expected[name].dtype, name
        of_parameter = "gains" not in name and name != "means"
        assert_close(name, tensor.cpu(), expected[name], "gains", dtype if of_parameter else torch.float32)


def test_a_wide_router_by_triton(
    device: str, assert_close: Callable[..., None], by_triton: Callable[[], None]
) -> None:
    """More features, and a wider hidden layer, than a program has at a time; and nothing contiguous."""
    given = arguments(width=530)
    given["means"], given["reduce_weight"] = torch.randn(3, 2100), torch.randn(530, 2100) / 30

    def apart(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().to(device).repeat_interleave(2, -1)[..., ::2]
        return [apart(each) for each in value] if isinstance(value, list) else value

    expected = router_gains(**given)
    by_triton()
    for i, gain in enumerate(router_gains(**{name: apart(value) for name, value in given.items()})):
        assert_close(f"gains[{i}]", gain.cpu(), expected[i], "gains", torch.float32)


def with_heads(weight: float, bias: float, device: str, images: int = 3) -> Arguments:
    """Arguments whose heads have only these numbers, on the device."""
    given = arguments(images)
    given["head_weights"] = [torch.full_like(t, weight, device=device) for t in given["head_weights"]]
    given["head_biases"] = [torch.full_like(t, bias, device=device) for t in given["head_biases"]]
    return given | {name: given[name].to(device) for name in ("means", "reduce_weight", "norm_weight")}


def test_heads_at_zero_are_the_identity_by_triton(device: str, by_triton: Callable[[], None]) -> None:
    by_triton()
    given = with_heads(0, 0, device)
    for gain, middle in zip(router_gains(**given), given["around"], strict=True):
        assert torch.equal(gain, torch.full_like(gain, middle))


@pytest.mark.parametrize("bias", [1e-6, 0.1, 0.6, 3.0, -200.0])
def test_gains_keep_their_digits_by_triton(bias: float, device: str, by_triton: Callable[[], None]) -> None:
    by_triton()
    found = router_gains(**with_heads(0, bias, device, images=1))[1][0, 0].item()
    assert found == pytest.approx(math.tanh(bias / 2), rel=1e-6)


def test_no_images_by_triton(device: str, by_triton: Callable[[], None]) -> None:
    given = arguments(images=0)
    by_triton()
    found = output_and_gradients(given, device)
    assert found["gains[0]"].shape == (0, 70)
    assert torch.equal(found["reduce_weight"], torch.zeros_like(found["reduce_weight"]))

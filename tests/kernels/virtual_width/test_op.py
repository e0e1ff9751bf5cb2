from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional

from skinflow_kernels import (
    band_thresholds,
    follow_weight,
    split_bands,
    virtual_width_linear,
    virtual_width_linear_reference,
)

Make = Callable[..., dict[str, Any]]
Close = Callable[..., None]

PACKS = {
    "one image": [7],
    "equal": [5, 5, 5],
    "ragged": [5, 1, 7, 7, 3],
    "with empty images": [0, 5, 0, 0, 1, 4, 0],
    "single tokens": [1, 1, 1],
}


def output_and_gradients(layer: dict[str, Any], function: Callable[..., Tensor]) -> dict[str, Tensor]:
    """By name: the output, and the gradient of every argument that has one."""
    y = function(**layer)
    trained = {n: t for n, t in layer.items() if isinstance(t, Tensor) and t.requires_grad}
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    gradients = torch.autograd.grad(y, list(trained.values()), dy)
    return {"output": y} | dict(zip(trained, gradients, strict=True))


def fast(**layer: Any) -> Tensor:
    return virtual_width_linear(**layer, backend="torch")


@pytest.mark.usefixtures("narrow_slabs")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pack", PACKS)
def test_output_and_every_gradient_are_those_of_the_definition(
    pack: str, dtype: torch.dtype, layer: Make, assert_close: Close
) -> None:
    made = layer(PACKS[pack], dtype=dtype)
    found = output_and_gradients(made, fast)
    for name, expected in output_and_gradients(made, virtual_width_linear_reference).items():
        assert found[name].dtype == expected.dtype, name
        assert_close(name, found[name], expected, "layer", dtype)


@pytest.mark.usefixtures("narrow_slabs")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("gains", [(), ("input_gain",), ("output_gain",)])
def test_without_some_of_bias_and_gains(
    gains: tuple[str, ...], bias: bool, layer: Make, assert_close: Close
) -> None:
    made = layer([5, 3, 3], bias=bias)
    made = {n: t for n, t in made.items() if n in gains or not n.endswith("gain")}
    found = output_and_gradients(made, fast)
    for name, expected in output_and_gradients(made, virtual_width_linear_reference).items():
        assert_close(name, found[name], expected, "layer", torch.float32)


@pytest.mark.parametrize("alone", ["x", "weight", "bases", "band_delta", "bias", "input_gain", "output_gain"])
def test_one_gradient_alone_is_that_of_all(alone: str, layer: Make, assert_close: Close) -> None:
    made = layer([5, 3, 3])
    expected = output_and_gradients(made, fast)[alone]
    others = {
        n: t.detach() if n != alone and isinstance(t, Tensor) and t.is_floating_point() else t
        for n, t in made.items()
    }
    found = output_and_gradients(others, fast)
    assert set(found) == {"output", alone}
    assert_close(alone, found[alone], expected, "layer", torch.float32)


@pytest.mark.parametrize("lengths", [[3], [2, 0, 2, 1]])
def test_gradients_by_finite_differences(lengths: list[int], layer: Make) -> None:
    made = layer(lengths, columns=5, rows=4, bands=2, dtype=torch.float64)
    names = [name for name in made if name != "segments"]

    def function(*tensors: Tensor) -> Tensor:
        return fast(segments=made["segments"], **dict(zip(names, tensors, strict=True)))

    assert gradcheck(function, [made[name] for name in names])


def test_gradient_of_a_weight_that_its_bases_follow() -> None:
    thresholds = band_thresholds(5, 4, 3)
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    x, delta = torch.randn(6, 4, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)

    def function(weight: Tensor) -> Tensor:
        bases = follow_weight(weight, split_bands(weight.detach(), thresholds), thresholds)
        return fast(x=x, segments=torch.tensor([0, 2, 6]), weight=weight, bases=bases, band_delta=delta)

    assert gradcheck(function, weight)


def test_a_zero_output_gain_has_the_right_gradient(layer: Make, assert_close: Close) -> None:
    made = layer([4, 2])
    with torch.no_grad():
        made["output_gain"][0] = 0
    found = output_and_gradients(made, fast)["output_gain"]
    expected = output_and_gradients(made, virtual_width_linear_reference)["output_gain"]
    assert_close("output_gain", found, expected, "layer", torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_without_amplitude_the_weight_is_bit_for_bit_itself(dtype: torch.dtype, layer: Make) -> None:
    made = layer([13, 13], dtype=dtype, bias=False, gains=False)
    made["band_delta"] = torch.zeros_like(made["band_delta"])
    # A product with the identity has one term and no rounding: each output row is a column of the weight.
    made["x"] = torch.eye(13, dtype=dtype).repeat(2, 1)
    columns = fast(**made)
    assert torch.equal(columns, made["weight"].T.repeat(2, 1))


def test_without_amplitude_the_output_is_that_of_linear(layer: Make, assert_close: Close) -> None:
    made = layer([6, 5], gains=False)
    made["band_delta"] = torch.zeros_like(made["band_delta"])
    expected = functional.linear(made["x"], made["weight"], made["bias"])
    assert_close("output", fast(**made), expected, "layer", torch.float32)


def test_amplitudes_keep_the_precision_of_float32(layer: Make) -> None:
    made = layer([13], dtype=torch.bfloat16, bias=False, gains=False)
    made["weight"], made["bases"] = torch.ones_like(made["weight"]), torch.ones_like(made["bases"])
    made["x"] = torch.eye(13, dtype=torch.bfloat16)
    # 1 + 2^-8 + 2^-18 is just above the middle between two bfloat16 and goes up; but an amplitude rounded to
    # bfloat16 has lost the 2^-18, and the middle goes down to 1.
    made["band_delta"] = torch.tensor([[2**-8 + 2**-18, 0, 0]])
    assert (fast(**made) == 1 + 2**-7).all()


def test_nothing_but_arguments_is_kept_for_backward(layer: Make) -> None:
    made = layer([4] * 6)
    arguments = {t.data_ptr(): t.numel() for t in made.values()}
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        fast(**made)
    assert kept
    for tensor in kept:
        assert tensor.numel() <= arguments.get(tensor.data_ptr(), 0), f"{tuple(tensor.shape)} is kept"


def test_a_gradient_of_the_weight_keeps_no_other_memory(layer: Make) -> None:
    made = layer([4, 3])
    fast(**made).sum().backward()
    assert made["weight"].grad.untyped_storage().nbytes() == made["weight"].nbytes


def test_training_after_inference_mode(layer: Make) -> None:
    made = layer([4, 3])
    with torch.inference_mode():
        first = fast(**made)
    gradients = output_and_gradients(made, fast)
    assert torch.equal(gradients["output"], first.clone())


@pytest.mark.usefixtures("narrow_slabs")
@pytest.mark.parametrize("lengths", [[5, 1, 7], [6, 6]])
def test_autocast_computes_as_linear_would_and_keeps_the_weight_whole(
    lengths: list[int], layer: Make, assert_close: Close
) -> None:
    made = layer(lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found = output_and_gradients(made, fast)
        linear = functional.linear(made["x"], made["weight"])
    assert found["output"].dtype == linear.dtype == torch.bfloat16
    expected = output_and_gradients(made, virtual_width_linear_reference)
    for name, tensor in found.items():
        assert name == "output" or tensor.dtype == torch.float32
        assert_close(name, tensor, expected[name], "layer", torch.bfloat16)


def test_backward_does_not_depend_on_autocast_around_it(layer: Make) -> None:
    made = layer([4, 3])
    names = [name for name in made if name != "segments"]
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.autograd.grad(fast(**made).float().sum(), [made[name] for name in names])
        y = fast(**made)
    outside = torch.autograd.grad(y.float().sum(), [made[name] for name in names])
    for name, one, other in zip(names, inside, outside, strict=True):
        assert torch.equal(one, other), name


def test_strided_inputs_and_expanded_gradients(layer: Make, assert_close: Close) -> None:
    made = layer([4, 3])
    expected = torch.autograd.grad(virtual_width_linear_reference(**made).sum(), made["x"])[0]
    made["x"] = made["x"].detach().T.contiguous().T.requires_grad_()
    made["weight"] = made["weight"].detach().T.contiguous().T
    found = torch.autograd.grad(fast(**made).sum(), made["x"])[0]
    assert_close("x", found, expected, "layer", torch.float32)


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_no_tokens_at_all(lengths: list[int], layer: Make) -> None:
    made = layer(lengths)
    found = output_and_gradients(made, fast)
    assert found["output"].shape == (0, 37)
    for name, gradient in found.items():
        assert torch.equal(gradient, torch.zeros_like(gradient)), name

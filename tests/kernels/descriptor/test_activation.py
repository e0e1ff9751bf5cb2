from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skinflow_kernels import ACTIVATIONS, activated_means

SEGMENTS = torch.tensor([0, 40, 40, 41, 58])


def test_it_is_the_activation_and_its_mean() -> None:
    up, gate = torch.randn(58, 7), torch.randn(58, 7)
    hidden, means = activated_means(up, gate, SEGMENTS, activation="silu")
    assert torch.equal(hidden, torch.nn.functional.silu(gate) * up)
    torch.testing.assert_close(means[0], hidden[:40].mean(0))
    hidden, means = activated_means(up, None, SEGMENTS, activation="gelu")
    assert torch.equal(hidden, torch.nn.functional.gelu(up))
    assert torch.equal(means[1], torch.zeros(7))


def test_an_unknown_activation() -> None:
    with pytest.raises(ValueError, match="activation 'relu' is unknown; there are silu, gelu"):
        activated_means(torch.randn(58, 7), None, SEGMENTS, activation="relu")


def output_and_gradients(
    up: Tensor, gate: Tensor | None, keep: Tensor | None, activation: str, device: str
) -> dict[str, Tensor]:
    up, gate = (None if t is None else t.detach().to(device).requires_grad_() for t in (up, gate))
    keep = None if keep is None else keep.to(device)
    hidden, means = activated_means(up, gate, SEGMENTS.to(device), keep, activation=activation)
    generator = torch.Generator().manual_seed(1)
    d = [torch.randn(t.shape, generator=generator).to(t) for t in (hidden, means)]
    inputs = {"up": up} | ({} if gate is None else {"gate": gate})
    found = torch.autograd.grad((hidden, means), list(inputs.values()), d)
    return {"hidden": hidden, "means": means} | dict(zip(inputs, found, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_by_triton(
    activation: str,
    gated: bool,
    dtype: torch.dtype,
    device: str,
    assert_close: Callable[..., None],
    by_triton: Callable[[], None],
) -> None:
    up = 3 * torch.randn(58, 34)
    gate = 3 * torch.randn(58, 34) if gated else None
    up[0, 0] = 90.0  # where an exponential would overflow
    keep = torch.rand(58) < 0.7
    up, gate = up.to(dtype), None if gate is None else gate.to(dtype)
    wide = output_and_gradients(up.float(), None if gate is None else gate.float(), keep, activation, "cpu")
    by_triton()
    found = output_and_gradients(up, gate, keep, activation, device)
    for name, expected in wide.items():
        assert found[name].dtype == (torch.float32 if name == "means" else dtype)
        assert_close(name, found[name].cpu(), expected, "activation", dtype)


def test_rows_apart_by_triton(
    device: str, by_triton: Callable[[], None], surrounded: Callable[[Tensor], Tensor]
) -> None:
    by_triton()
    up, gate, d = torch.randn(3, 58, 34, device=device).unbind()

    def found(*given: Tensor) -> list[Tensor]:
        up, gate, d = given
        inputs = [up.requires_grad_(), gate.requires_grad_()]
        hidden, means = activated_means(up, gate, SEGMENTS.to(device), activation="silu")
        return [hidden, means, *torch.autograd.grad(hidden, inputs, d)]

    for one, other in zip(found(*map(surrounded, (up, gate, d))), found(up, gate, d), strict=True):
        assert torch.equal(one, other)


def test_one_gradient_alone(device: str, by_triton: Callable[[], None]) -> None:
    by_triton()
    up, gate = torch.randn(58, 5, device=device), torch.randn(58, 5, device=device, requires_grad=True)
    hidden, means = activated_means(up, gate, SEGMENTS.to(device), activation="silu")
    alone = torch.autograd.grad(hidden.sum(), gate)[0]
    hidden, means = activated_means(up.requires_grad_(), gate, SEGMENTS.to(device), activation="silu")
    both = torch.autograd.grad((hidden.sum() + 0 * means.sum()), [up, gate])
    assert torch.equal(both[1], alone)

"""From the mean token of an image to the gains of a layer. torch's `skinflow::router_gains`.

Axis letters: S images, N features of a token, A features of the hidden layer, G gains of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from skinflow_kernels.descriptor.checks import check_router
from skinflow_kernels.descriptor.choice import by_triton
from skinflow_kernels.triton_support import launching_on

EPSILON = 1e-6
"""Of the RMS norm."""


def router_gains(
    means: Tensor,
    reduce_weight: Tensor,
    norm_weight: Tensor,
    head_weights: Sequence[Tensor],
    head_biases: Sequence[Tensor],
    around: Sequence[float],
) -> list[Tensor]:
    """The gains (S, G) of every head, in float32: around + tanh(z / 2), z = W relu(rms_norm(R m)) + b.

    `means` m (S, N); `reduce_weight` R (A, N); `norm_weight` (A,) that of the RMS norm; `head_weights` W
    (G, A) and `head_biases` b (G,), each head with its own G; `around`, for each head, what a gain is when
    its head is zero. Computed in float32 whatever the parameters are, autocast is not heeded; every tensor
    has a gradient. Source: the published FDLinear, where gains are 2 sigmoid(z) = 1 + tanh(z / 2). Raises
    ValueError with all mistakes in shapes and devices.
    """
    check_router(means, reduce_weight, norm_weight, head_weights, head_biases, around)
    means = means.float()
    if by_triton(means):
        gains: list[Tensor] = _gains(
            means, reduce_weight, norm_weight, list(head_weights), list(head_biases), list(around)
        )
        return gains
    with torch.autocast(means.device.type, enabled=False):
        hidden = functional.linear(means, reduce_weight.float())
        hidden = functional.rms_norm(hidden, hidden.shape[-1:], norm_weight.float(), eps=EPSILON).relu()
        logits = [
            functional.linear(hidden, weight.float(), bias.float())
            for weight, bias in zip(head_weights, head_biases, strict=True)
        ]
        deltas = [torch.tanh(logit / 2) for logit in logits]
        return [delta + middle if middle else delta for delta, middle in zip(deltas, around, strict=True)]


@torch.library.custom_op("skinflow::router_gains", mutates_args=())
def _gains(
    means: Tensor,
    reduce_weight: Tensor,
    norm_weight: Tensor,
    head_weights: list[Tensor],
    head_biases: list[Tensor],
    around: list[float],
) -> list[Tensor]:
    from skinflow_kernels.descriptor import triton_path

    with launching_on(means.device):
        return triton_path.gains(
            means, reduce_weight, norm_weight, head_weights, head_biases, around, EPSILON
        )


@_gains.register_fake
def _(
    means: Tensor,
    reduce_weight: Tensor,
    norm_weight: Tensor,
    head_weights: list[Tensor],
    head_biases: list[Tensor],
    around: list[float],
) -> list[Tensor]:
    return [means.new_empty((len(means), len(bias))) for bias in head_biases]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    means, reduce_weight, norm_weight, weights, biases, ctx.around = inputs
    ctx.heads = len(weights)
    ctx.save_for_backward(means, reduce_weight, norm_weight, *weights, *biases, *output)


def _differentiate(ctx: Any, d_gains: Sequence[Tensor]) -> tuple[Any, ...]:
    """By hand, in plain PyTorch: nothing here is larger than a weight of the router.

    With r = 1 / rms(z), u = z r, h = relu(w u): d logit = d gain (1 - tanh^2) / 2, dh = sum over heads of
    d logit W, du = w dh where h > 0, dz = r (du - u mean(u du)).
    """
    means, reduce_weight, norm_weight, *others = ctx.saved_tensors
    weights, biases, gains = others[: ctx.heads], others[ctx.heads : 2 * ctx.heads], others[2 * ctx.heads :]
    with torch.autocast(means.device.type, enabled=False):
        z = functional.linear(means, reduce_weight.float())
        r = torch.rsqrt(z.square().mean(-1, keepdim=True) + EPSILON)
        u = z * r
        h = (u * norm_weight.float()).relu()
        d_h = torch.zeros_like(h)
        d_weights, d_biases = [], []
        for weight, bias, gain, middle, d_gain in zip(
            weights, biases, gains, ctx.around, d_gains, strict=True
        ):
            d_logit = d_gain.float() * (1 - (gain - middle).square()) / 2
            d_h = d_h + d_logit @ weight.float()
            d_weights.append((d_logit.mT @ h).to(weight.dtype))
            d_biases.append(d_logit.sum(0).to(bias.dtype))
        d_h = d_h * (h > 0)
        d_u = d_h * norm_weight.float()
        d_z = r * (d_u - u * (u * d_u).mean(-1, keepdim=True))
        d_norm = (d_h * u).sum(0).to(norm_weight.dtype)
        d_reduce = (d_z.mT @ means).to(reduce_weight.dtype)
        return d_z @ reduce_weight.float(), d_reduce, d_norm, d_weights, d_biases, None


_gains.register_autograd(_differentiate, setup_context=_remember)

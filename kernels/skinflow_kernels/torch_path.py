"""The virtual-width linear layer in plain PyTorch, with a derivative by hand that keeps no mixed weight.

Axis letters: T tokens packed over images, S images, I input features, O output features, K bands, R output
rows of a slab.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skinflow_kernels.call import Call
from skinflow_kernels.segments import equal_runs, image_sums
from skinflow_kernels.slabs import Slabs
from skinflow_kernels.torch_gradients import input_gradient, weight_gradients


def torch_path(call: Call) -> Tensor:
    """Each token of x (T, I) through the weight of its own image: (T, O), in x's dtype."""
    delta, input_gain, output_gain, lengths = call.band_delta, call.input_gain, call.output_gain, call.lengths
    if 0 in lengths:  # an image without tokens has no part in the output, and so a gradient of zero
        some = torch.tensor([s for s, length in enumerate(lengths) if length], device=delta.device).long()
        delta = delta[some]
        input_gain = None if input_gain is None else input_gain[some]
        output_gain = None if output_gain is None else output_gain[some]
        lengths = [length for length in lengths if length]
    with torch.autocast(call.x.device.type, enabled=False):
        y: Tensor = _VirtualWidth.apply(  # type: ignore[no-untyped-call]
            call.x.contiguous(), call.weight, call.bases, delta, call.bias, input_gain, output_gain, lengths
        )
    return y


class _VirtualWidth(torch.autograd.Function):
    """With c the input gain, f the output gain and W_s = W + sum_k delta_sk B_k, for a token t of image s:

        y_t = f (W_s (c x_t)) + b

    and, with dy the gradient of y and G_s = sum_t dy_t (c x_t)^T:

        dz_t = W_s^T (f dy_t),   dx_t = c dz_t,   dc_s = sum_t x_t dz_t,   db = sum_t dy_t,
        dW = sum_s f G_s,   dB_k = sum_s delta_sk f G_s,   ddelta_sk = <B_k, f G_s>,
        df_s = the sum of every row of W_s G_s, element by element.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bases: Tensor,
        delta: Tensor,
        bias: Tensor | None,
        input_gain: Tensor | None,
        output_gain: Tensor | None,
        lengths: list[int],
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bases, delta, input_gain, output_gain)
        ctx.lengths, ctx.bias_dtype = lengths, None if bias is None else bias.dtype
        x = gated(x, input_gain, lengths)
        bias = None if bias is None else bias.to(x.dtype)
        y = x.new_empty((len(x), len(weight)))
        slabs = Slabs(weight, bases, delta, len(x))
        scratch = slabs.scratch(slabs.wide)
        for rows in slabs:
            mixed = slabs.mixed(scratch, rows).to(x.dtype)
            for images, tokens, length in equal_runs(lengths):
                part = y[tokens].view(-1, length, len(weight))[..., rows]
                image = x[tokens].view(-1, length, x.shape[1])
                if bias is not None and output_gain is None:
                    torch.baddbmm(bias[rows], image, mixed[images].mT, out=part)
                    continue
                torch.bmm(image, mixed[images].mT, out=part)
                if output_gain is not None:
                    part.mul_(output_gain[images, None, rows])
                if bias is not None:
                    part.add_(bias[rows])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bases, delta, input_gain, output_gain = ctx.saved_tensors
        wants_x, wants_weight, wants_bases, wants_delta, wants_bias, wants_in, wants_out, _ = (
            ctx.needs_input_grad
        )
        d_x = d_in = d_bias = None
        with torch.autocast(dy.device.type, enabled=False):
            dy, slabs = dy.contiguous(), Slabs(weight, bases, delta, len(x))
            z = gated(x, input_gain, ctx.lengths)
            wants = (wants_weight, wants_bases, wants_delta, wants_out)
            of_weights = weight_gradients(dy, z, slabs, output_gain, ctx.lengths, wants)
            if wants_x or wants_in:
                dz = input_gradient(dy, slabs, output_gain, ctx.lengths)
                if wants_in:
                    # z has served, and can hold x dz where it is no other than x itself
                    products = torch.mul(dz, x, out=z if z.dtype == dz.dtype else None)
                    d_in = image_sums(products, ctx.lengths, slabs.wide).to(input_gain.dtype)
                if wants_x:
                    d_x = dz if input_gain is None else gated(dz, input_gain, ctx.lengths, out=dz)
                    d_x = d_x.to(x.dtype)
            if wants_bias:
                d_bias = dy.sum(0, dtype=slabs.wide).to(ctx.bias_dtype)
        d_weight, d_bases, d_delta, d_out = of_weights
        return d_x, d_weight, d_bases, d_delta, d_bias, d_in, d_out, None


def gated(x: Tensor, gain: Tensor | None, lengths: list[int], out: Tensor | None = None) -> Tensor:
    """The tokens x (T, I) times the gain (S, I) of their image, rounded once to x's dtype: (T, I)."""
    if gain is None:
        return x
    out = torch.empty_like(x) if out is None else out
    for images, tokens, length in equal_runs(lengths):
        shape = (-1, length, x.shape[1])
        torch.mul(x[tokens].view(shape), gain[images, None], out=out[tokens].view(shape))
    return out

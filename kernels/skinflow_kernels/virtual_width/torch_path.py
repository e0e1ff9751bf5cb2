"""The virtual-width linear layer in plain PyTorch, with a derivative by hand that keeps no mixed weight.

Axis letters: T tokens packed over images, S images, I input features, O output features, K bands, R output
rows of a slab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from skinflow_kernels.segments import equal_runs, image_sums
from skinflow_kernels.virtual_width.call import Call
from skinflow_kernels.virtual_width.slabs import Slabs
from skinflow_kernels.virtual_width.torch_gradients import input_gradient, weight_gradients


def forward(call: Call) -> Tensor:
    """Each token of x (T, I) through the weight of its own image: (T, O), in x's dtype."""
    call = without_empty_images(call)
    lengths, weight = call.lengths, call.weight
    x = gated(call.x.contiguous(), call.input_gain, lengths)
    bias = None if call.bias is None else call.bias.to(x.dtype)
    y = x.new_empty((len(x), len(weight)))
    slabs = Slabs(weight, call.bases, call.band_delta, len(x))
    scratch = slabs.scratch(slabs.wide)
    for rows in slabs:
        mixed = slabs.mixed(scratch, rows).to(x.dtype)
        for images, tokens, length in equal_runs(lengths):
            part = y[tokens].view(-1, length, len(weight))[..., rows]
            image = x[tokens].view(-1, length, x.shape[1])
            if bias is not None and call.output_gain is None:
                torch.baddbmm(bias[rows], image, mixed[images].mT, out=part)
                continue
            torch.bmm(image, mixed[images].mT, out=part)
            if call.output_gain is not None:
                part.mul_(call.output_gain[images, None, rows])
            if bias is not None:
                part.add_(bias[rows])
    return y


def backward(call: Call, dy: Tensor, wants: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients of TRAINED, those that are wanted, from that of the output, dy (T, O).

    The formulas stand in `op`; no mixed weight was kept, they are mixed again.
    """
    some, whole = without_empty_images(call), call
    wants_x, wants_weight, wants_bases, wants_delta, wants_bias, wants_in, wants_out = wants
    x, lengths, input_gain = some.x.contiguous(), some.lengths, some.input_gain
    dy, slabs = dy.contiguous(), Slabs(some.weight, some.bases, some.band_delta, len(x))
    z = gated(x, input_gain, lengths)
    of_weights = (wants_weight, wants_bases, wants_delta, wants_out)
    d_weight, d_bases, d_delta, d_out = weight_gradients(dy, z, slabs, some.output_gain, lengths, of_weights)
    d_x = d_in = d_bias = None
    if wants_x or wants_in:
        dz = input_gradient(dy, slabs, some.output_gain, lengths)
        if wants_in:
            # z has served, and can hold x dz where it is no other than x itself
            assert input_gain is not None
            products = torch.mul(dz, x, out=z if z.dtype == dz.dtype else None)
            d_in = image_sums(products, lengths, slabs.wide).to(input_gain.dtype)
        if wants_x:
            d_x = (dz if input_gain is None else gated(dz, input_gain, lengths, out=dz)).to(x.dtype)
    if wants_bias:
        assert whole.bias is not None
        d_bias = dy.sum(0, dtype=slabs.wide).to(whole.bias.dtype)
    d_delta, d_in, d_out = (_with_empty_images(part, whole.lengths) for part in (d_delta, d_in, d_out))
    if d_delta is not None:
        d_delta = d_delta.to(whole.band_delta.dtype)
    return d_x, d_weight, d_bases, d_delta, d_bias, d_in, d_out


def without_empty_images(call: Call) -> Call:
    """The call without the images that have no tokens: they have no part in the output."""
    if 0 not in call.lengths:
        return call
    some = _indices(call.lengths, call.x.device)
    per_image: dict[str, Any] = {
        name: None if (tensor := getattr(call, name)) is None else tensor[some]
        for name in ("band_delta", "input_gain", "output_gain")
    }
    ends = torch.cat((some.new_zeros(1), call.segments.to(some.device)[some + 1]))
    return replace(call, segments=ends, **per_image)


def _with_empty_images(gradient: Tensor | None, lengths: list[int]) -> Tensor | None:
    """A gradient (S', ...) of the images with tokens as one of all images (S, ...); that of others is 0."""
    if gradient is None or 0 not in lengths:
        return gradient
    every = gradient.new_zeros((len(lengths), *gradient.shape[1:]))
    every[_indices(lengths, gradient.device)] = gradient
    return every


def _indices(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([s for s, length in enumerate(lengths) if length], device=device).long()


def gated(x: Tensor, gain: Tensor | None, lengths: list[int], out: Tensor | None = None) -> Tensor:
    """The tokens x (T, I) times the gain (S, I) of their image, rounded once to x's dtype: (T, I)."""
    if gain is None:
        return x
    out = torch.empty_like(x) if out is None else out
    for images, tokens, length in equal_runs(lengths):
        shape = (-1, length, x.shape[1])
        torch.mul(x[tokens].view(shape), gain[images, None], out=out[tokens].view(shape))
    return out

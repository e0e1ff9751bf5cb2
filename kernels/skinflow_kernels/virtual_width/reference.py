"""The virtual-width linear layer as it is defined; slow, and what every fast path is compared with.

Axis letters: T tokens packed over images, S images (segments), I input features, O output features, K bands.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skinflow_kernels.virtual_width.call import TRAINED, Call


def virtual_width_linear_reference(
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor | None = None,
    *,
    input_gain: Tensor | None = None,
    output_gain: Tensor | None = None,
) -> Tensor:
    """Each token of x (T, I) through the weight of its own image: (T, O), in x's dtype.

    For every image s and each of its tokens t, with weight (O, I), bases (K, O, I), band_delta (S, K),
    input_gain (S, I), output_gain (S, O) and bias (O,):

        W_s = weight + sum_k band_delta[s, k] * bases[k]
        y_t = output_gain_s * (W_s (input_gain_s * x_t)) + bias

    Computed in float32, or in float64 where the weight is; autocast is not heeded.
    """
    return forward(Call(x, segments, weight, bases, band_delta, bias, input_gain, output_gain))


def forward(call: Call) -> Tensor:
    """The definition, for a call whose arguments fit together: (T, O), in x's dtype."""
    wide = call.wide()
    outputs = [call.x.new_empty((0, len(call.weight)), dtype=wide)]
    with torch.autocast(call.x.device.type, enabled=False):
        for s, tokens in enumerate(call.x.split(call.lengths)):
            image_weight = call.weight.to(wide)
            for k, basis in enumerate(call.bases):
                image_weight = image_weight + call.band_delta[s, k] * basis.to(wide)
            y = tokens.to(wide)
            if call.input_gain is not None:
                y = call.input_gain[s].to(wide) * y
            y = y @ image_weight.T
            if call.output_gain is not None:
                y = call.output_gain[s].to(wide) * y
            if call.bias is not None:
                y = y + call.bias.to(wide)
            outputs.append(y)
    return torch.cat(outputs).to(call.x.dtype)


def backward(call: Call, dy: Tensor, wants: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients of TRAINED, those that are wanted, from that of the output, dy (T, O).

    An image at a time, by the formulas in `op`; tests hold them against the autograd of the definition.
    """
    wide = call.wide()
    given = {name: getattr(call, name) for name in TRAINED}
    found = {name: torch.zeros_like(t, dtype=wide) for name, t in given.items() if t is not None}
    images = zip(call.x.split(call.lengths), dy.split(call.lengths), strict=True)
    found["x"] = found["x"][:0]
    for s, (x, dy_s) in enumerate((x.to(wide), dy_s.to(wide)) for x, dy_s in images):
        ones_in, ones_out = x.new_ones(x.shape[1]), x.new_ones(dy.shape[1])
        c = ones_in if call.input_gain is None else call.input_gain[s].to(wide)
        f = ones_out if call.output_gain is None else call.output_gain[s].to(wide)
        delta, bases = call.band_delta[s].to(wide), call.bases.to(wide)
        image_weight = call.weight.to(wide) + torch.einsum("k,koi->oi", delta, bases)
        outer = torch.einsum("to,ti->oi", dy_s, c * x)
        dz = (f * dy_s) @ image_weight
        found["x"] = torch.cat((found["x"], c * dz))
        found["weight"] += f[:, None] * outer
        found["bases"] += torch.einsum("k,oi->koi", delta, f[:, None] * outer)
        found["band_delta"][s] = torch.einsum("koi,oi->k", bases, f[:, None] * outer)
        if "bias" in found:
            found["bias"] += dy_s.sum(0)
        if "input_gain" in found:
            found["input_gain"][s] = (x * dz).sum(0)
        if "output_gain" in found:
            found["output_gain"][s] = (image_weight * outer).sum(1)
    return tuple(
        found[name].to(given[name].dtype) if want else None for name, want in zip(TRAINED, wants, strict=True)
    )

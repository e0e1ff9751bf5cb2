"""The virtual-width linear layer as it is defined; slow, and what every fast path is compared with.

Axis letters: T tokens packed over images, S images (segments), I input features, O output features, K bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skinflow_kernels.call import Call
from skinflow_kernels.segments import segment_lengths


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
    lengths = segment_lengths(segments, len(x))
    return reference(Call(x, lengths, weight, bases, band_delta, bias, input_gain, output_gain))


def reference(call: Call) -> Tensor:
    """The definition, for a call whose arguments fit together: (T, O), in x's dtype."""
    wide = torch.float64 if call.weight.dtype == torch.float64 else torch.float32
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

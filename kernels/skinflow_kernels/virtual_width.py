"""A linear layer whose weight is mixed anew for each image from one matrix and its K frequency bands.

Axis letters: T tokens packed over images, S images (segments), I input features, O output features, K bands.
"""

from __future__ import annotations

from torch import Tensor

from skinflow_kernels.call import checked_call
from skinflow_kernels.dispatch import chosen_backend


def virtual_width_linear(
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor | None = None,
    *,
    input_gain: Tensor | None = None,
    output_gain: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """Each token of x (T, I) through the weight of its own image: (T, O), in x's dtype or that of autocast.

    For every image s and each of its tokens t:

        W_s = weight + sum_k band_delta[s, k] * bases[k]
        y_t = output_gain_s * (W_s (input_gain_s * x_t)) + bias

    segments     (S + 1,), int32 or int64: the cumulative token count, from 0 to T
    weight       (O, I); bases (K, O, I), its parts by `split_bands`, or any others of its dtype
    band_delta   (S, K), float32: what each band is amplified by, beyond 1; at 0 W_s is the weight bit by bit
    bias         (O,)
    input_gain   (S, I), output_gain (S, O): factors of the channels; 1 changes nothing
    backend      a name out of `backends()`, or "auto": the first that can, or the one that the environment
                 variable SKINFLOW_BACKEND names

    Every argument but segments has a gradient, of first order. Raises ValueError with all mistakes in shapes,
    dtypes and devices at once, or when the backend named cannot compute this call.
    """
    call = checked_call(x, segments, weight, bases, band_delta, bias, input_gain, output_gain)
    return chosen_backend(backend, call).run(call)

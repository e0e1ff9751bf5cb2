"""A linear layer whose weight is mixed anew for each image from one matrix and its K frequency bands.

The operation is torch's `skinflow::virtual_width`, so that torch.compile and torch.export keep it whole: what
is in it (lengths of segments, the choice of a backend) is decided when it runs.
Axis letters: T tokens packed over images, S images (segments), I input features, O output features, K bands.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinflow_kernels.virtual_width.call import TRAINED, Call, check
from skinflow_kernels.virtual_width.dispatch import chosen_backend


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
                 variable SKINFLOW_BACKEND names; `explain` says which that is, and why

    Every argument but segments has a gradient, of first order. Under autocast x is cast as
    `torch.nn.functional.linear` would cast it; the weight is not, because it is mixed first and rounded once.

    Raises ValueError with all mistakes in shapes, dtypes and devices at once, or when the backend named
    cannot compute this call. Segments on a GPU that are no cumulative count are found there, without waiting
    for it: torch reports them as a failed assertion of the device at its next synchronisation.
    """
    autocast = torch.is_autocast_enabled(x.device.type) and x.is_floating_point() and x.dtype != torch.float64
    if autocast:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    y: Tensor = _forward(
        x, segments, weight, bases, band_delta, bias, input_gain, output_gain, backend, autocast
    )
    return y


@torch.library.custom_op("skinflow::virtual_width", mutates_args=())
def _forward(
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor | None,
    input_gain: Tensor | None,
    output_gain: Tensor | None,
    backend: str,
    autocast: bool,
) -> Tensor:
    call = Call(x, segments, weight, bases, band_delta, bias, input_gain, output_gain)
    check(call, autocast=autocast)
    with torch.autocast(x.device.type, enabled=False):
        return chosen_backend(backend, call.where).forward(call)


@_forward.register_fake
def _(
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor | None,
    input_gain: Tensor | None,
    output_gain: Tensor | None,
    backend: str,
    autocast: bool,
) -> Tensor:
    check(Call(x, segments, weight, bases, band_delta, bias, input_gain, output_gain), autocast=autocast)
    return x.new_empty((len(x), len(weight)))


@torch.library.custom_op("skinflow::virtual_width_backward", mutates_args=())
def _backward(
    dy: Tensor,
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor | None,
    input_gain: Tensor | None,
    output_gain: Tensor | None,
    wants: list[bool],
    backend: str,
) -> list[Tensor]:
    """The wanted gradients of TRAINED, in that order and without gaps."""
    call = Call(x, segments, weight, bases, band_delta, bias, input_gain, output_gain)
    with torch.autocast(x.device.type, enabled=False):
        found = chosen_backend(backend, call.where).backward(call, dy, wants)
    return [gradient for gradient in found if gradient is not None]


@_backward.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor | None,
    input_gain: Tensor | None,
    output_gain: Tensor | None,
    wants: list[bool],
    backend: str,
) -> list[Tensor]:
    tensors = (x, weight, bases, band_delta, bias, input_gain, output_gain)
    return [
        tensor.new_empty(tensor.shape)
        for tensor, want in zip(tensors, wants, strict=True)
        if want and tensor is not None
    ]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.backend, _ = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    """With c the input gain, f the output gain and W_s = W + sum_k delta_sk B_k, for a token t of image s:

        y_t = f (W_s (c x_t)) + b

    and, with dy the gradient of y and G_s = sum_t dy_t (c x_t)^T:

        dz_t = W_s^T (f dy_t),   dx_t = c dz_t,   dc_s = sum_t x_t dz_t,   db = sum_t dy_t,
        dW = sum_s f G_s,   dB_k = sum_s delta_sk f G_s,   ddelta_sk = <B_k, f G_s>,
        df_s = the sum of every row of W_s G_s, element by element.
    """
    # Of all inputs: x, segments, weight, ...; then the backend's name and autocast.
    needs = dict(zip(("x", "segments", *TRAINED[1:]), ctx.needs_input_grad[:8], strict=True))
    wants = [bool(needs[name]) for name in TRAINED]
    found = iter(_backward(dy, *ctx.saved_tensors, wants, ctx.backend))
    of = {name: next(found) if want else None for name, want in zip(TRAINED, wants, strict=True)}
    return of.pop("x"), None, *of.values(), None, None


_forward.register_autograd(_differentiate, setup_context=_remember)

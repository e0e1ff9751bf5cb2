"""The arguments of a virtual-width linear layer as every backend receives them, and what is wrong with them.

Axis letters: T tokens packed over images, S images (segments), I input features, O output features, K bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skinflow_kernels.segments import segment_lengths


@dataclass(frozen=True)
class Call:
    """Arguments that fit together. x is in the dtype of computing already; the weight keeps its own."""

    x: Tensor
    lengths: list[int]
    weight: Tensor
    bases: Tensor
    band_delta: Tensor
    bias: Tensor | None
    input_gain: Tensor | None
    output_gain: Tensor | None


def checked_call(
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor | None,
    input_gain: Tensor | None,
    output_gain: Tensor | None,
) -> Call:
    """The call that these arguments make; ValueError with every mistake in them.

    Under autocast x is cast as `torch.nn.functional.linear` would cast it; the weight is not, because it is
    mixed first and rounded once.
    """
    optional = {"bias": bias, "input_gain": input_gain, "output_gain": output_gain}
    given = {"x": x, "weight": weight, "bases": bases, "band_delta": band_delta}
    given |= {name: tensor for name, tensor in optional.items() if tensor is not None}

    mistakes = [
        f"{name} has {tensor.dim()} axes, shape {tuple(tensor.shape)}; expected {_AXES[name]}"
        for name, tensor in given.items()
        if tensor.dim() != len(_AXES[name])
    ]
    lengths: list[int] = []
    try:
        lengths = segment_lengths(segments, len(x) if x.dim() else 0)
    except ValueError as mistake:
        mistakes.append(str(mistake))
    if not mistakes:
        sizes = dict(zip("TISOK", (*x.shape, len(lengths), len(weight), len(bases)), strict=True))
        mistakes += _shape_mistakes(given, sizes)
    autocast = torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64
    mistakes += _dtype_mistakes(given, autocast)
    mistakes += [
        f"{name} is on {tensor.device}; expected {x.device}, where x is"
        for name, tensor in given.items()
        if tensor.device != x.device
    ]
    if mistakes:
        raise ValueError("virtual_width_linear: " + "; ".join(mistakes))
    if autocast:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    return Call(x, lengths, weight, bases, band_delta, **optional)


_AXES = {
    "x": "TI",
    "weight": "OI",
    "bases": "KOI",
    "band_delta": "SK",
    "bias": "O",
    "input_gain": "SI",
    "output_gain": "SO",
}
_MEANING = {"T": "tokens", "I": "input features", "S": "images", "O": "output features", "K": "bands"}


def _shape_mistakes(given: dict[str, Tensor], sizes: dict[str, int]) -> Iterator[str]:
    for name, tensor in given.items():
        expected = tuple(sizes[axis] for axis in _AXES[name])
        if tensor.shape != expected:
            meaning = ", ".join(_MEANING[axis] for axis in _AXES[name])
            yield f"{name} has shape {tuple(tensor.shape)}; expected {expected}: ({meaning})"


def _dtype_mistakes(given: dict[str, Tensor], autocast: bool) -> Iterator[str]:
    x, weight = given["x"].dtype, given["weight"].dtype
    yield from (
        f"{n} has dtype {t.dtype}; expected floating" for n, t in given.items() if not t.is_floating_point()
    )
    if x != weight and not autocast:
        yield f"x has dtype {x}, the weight {weight}; expected the same outside autocast"
    for name in ("bases", "bias"):
        if name in given and given[name].dtype != weight:
            yield f"{name} has dtype {given[name].dtype}; expected {weight}, as the weight"
    # bfloat16 would round an amplitude near 1 to steps of 1/128, and different backends differently.
    delta = torch.float64 if weight == torch.float64 else torch.float32
    if given["band_delta"].dtype not in (delta, torch.float32):
        yield f"band_delta has dtype {given['band_delta'].dtype}; expected {delta}"

"""The arguments of a virtual-width linear layer as every backend receives them, and what is wrong with them.

Axis letters: T tokens packed over images, S images (segments), I input features, O output features, K bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

from skinflow_kernels.backends import Where
from skinflow_kernels.segments import segment_count, segment_lengths

TRAINED = ("x", "weight", "bases", "band_delta", "bias", "input_gain", "output_gain")
"""The arguments that have a gradient, in the order in which gradients are asked for and given."""


@dataclass(frozen=True)
class Call:
    """Arguments that fit together. x is in the dtype of computing already; the weight keeps its own."""

    x: Tensor
    segments: Tensor
    weight: Tensor
    bases: Tensor
    band_delta: Tensor
    bias: Tensor | None
    input_gain: Tensor | None
    output_gain: Tensor | None

    @cached_property
    def lengths(self) -> list[int]:
        """The tokens of each image, as numbers: ValueError for impossible segments; waits for a GPU."""
        return segment_lengths(self.segments, len(self.x))

    @property
    def images(self) -> int:
        return len(self.segments) - 1

    @property
    def where(self) -> Where:
        """What the choice of a backend looks at."""
        return Where(self.x.device, self.x.dtype, self.weight.dtype)

    def wide(self) -> torch.dtype:
        """What weights are mixed and sums are taken in."""
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32


def check(call: Call, *, autocast: bool) -> None:
    """Raise ValueError with every mistake in a call; `autocast`: x need not have the weight's dtype.

    What segments say is looked at where that costs nothing, on the CPU. On a GPU the backends do that.
    """
    given = {field.name: getattr(call, field.name) for field in fields(call)}
    segments = given.pop("segments")
    given = {name: tensor for name, tensor in given.items() if tensor is not None}
    mistakes = [
        f"{name} has {tensor.dim()} axes, shape {tuple(tensor.shape)}; expected {_AXES[name]}"
        for name, tensor in given.items()
        if tensor.dim() != len(_AXES[name])
    ]
    try:
        if segments.device.type == "cpu" and not _is_abstract(segments):
            segment_lengths(segments, len(call.x) if call.x.dim() else 0)
        else:
            segment_count(segments)
    except ValueError as mistake:
        mistakes.append(str(mistake))
    if not mistakes:
        sizes = dict(
            zip("TISOK", (*call.x.shape, call.images, len(call.weight), len(call.bases)), strict=True)
        )
        mistakes += _shape_mistakes(given, sizes)
    mistakes += _dtype_mistakes(given, autocast)
    mistakes += [
        f"{name} is on {tensor.device}; expected {call.x.device}, where x is"
        for name, tensor in given.items()
        if tensor.device != call.x.device
    ]
    if mistakes:
        raise ValueError("virtual_width_linear: " + "; ".join(mistakes))


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


def _is_abstract(tensor: Tensor) -> bool:
    """Whether a tensor has a shape but no numbers: on the meta device, or while a compiler looks on."""
    return tensor.is_meta or torch._subclasses.fake_tensor.is_fake(tensor)


def _shape_mistakes(given: dict[str, Tensor], sizes: dict[str, int]) -> Iterator[str]:
    for name, tensor in given.items():
        expected = tuple(sizes[axis] for axis in _AXES[name])
        if tuple(tensor.shape) != expected:
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

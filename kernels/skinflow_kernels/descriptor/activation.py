"""The activation within an MLP and the mean of what comes out, in one pass: `skinflow::activated_means`.

Axis letters: T tokens packed over images, S images (segments), N features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from skinflow_kernels.descriptor.checks import check_tokens
from skinflow_kernels.descriptor.choice import by_triton
from skinflow_kernels.descriptor.means import segment_means
from skinflow_kernels.segments import segment_count
from skinflow_kernels.triton_support import launching_on

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "silu": functional.silu,
        "gelu": functional.gelu,
        "gelu_tanh": partial(functional.gelu, approximate="tanh"),
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    }
)
"""The activations that there are kernels for, each as PyTorch computes it."""


def activated_means(
    up: Tensor, gate: Tensor | None, segments: Tensor, keep: Tensor | None = None, *, activation: str
) -> tuple[Tensor, Tensor]:
    """act(gate) * up, or act(up) without a gate, (T, N); and the mean of it for each image, (S, N) float32.

    `up` and `gate` are (T, N), `activation` one of ACTIVATIONS; `segments`, `keep` and what is wrong with
    them as for `segment_means`. On a GPU the product is rounded once, elsewhere as PyTorch rounds it. Raises
    ValueError for an unknown activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r} is unknown; there are {', '.join(ACTIVATIONS)}")
    check_tokens("activated_means", "up", up, segments, keep, gate)
    if by_triton(up) and (gate is None or gate.dtype == up.dtype):
        hidden, means, _ = _activated(up, gate, segments, keep, activation)
        return hidden, means
    act = ACTIVATIONS[activation]
    hidden = act(up) if gate is None else act(gate) * up
    return hidden, segment_means(hidden, segments, keep)


@torch.library.custom_op("skinflow::activated_means", mutates_args=())
def _activated(
    up: Tensor, gate: Tensor | None, segments: Tensor, keep: Tensor | None, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The product, its means, and how many tokens of each image were kept, at least 1: (S,)."""
    from skinflow_kernels.descriptor import triton_path

    with launching_on(up.device):
        return triton_path.activated(up, gate, segments, keep, activation)


@_activated.register_fake
def _(
    up: Tensor, gate: Tensor | None, segments: Tensor, keep: Tensor | None, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    images = segment_count(segments)
    means = up.new_empty((images, up.shape[1]), dtype=torch.float32)
    return up.new_empty(up.shape), means, up.new_empty((images,), dtype=torch.float32)


@torch.library.custom_op("skinflow::activated_means_backward", mutates_args=())
def _backward(
    d_hidden: Tensor,
    d_means: Tensor,
    counts: Tensor,
    up: Tensor,
    gate: Tensor | None,
    segments: Tensor,
    keep: Tensor | None,
    activation: str,
) -> list[Tensor]:
    from skinflow_kernels.descriptor import triton_path

    with launching_on(up.device):
        return triton_path.activated_backward(d_hidden, d_means, counts, up, gate, segments, keep, activation)


@_backward.register_fake
def _(
    d_hidden: Tensor,
    d_means: Tensor,
    counts: Tensor,
    up: Tensor,
    gate: Tensor | None,
    segments: Tensor,
    keep: Tensor | None,
    activation: str,
) -> list[Tensor]:
    return [up.new_empty(up.shape) for _ in range(1 if gate is None else 2)]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    up, gate, segments, keep, ctx.activation = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(output[2], up, gate, segments, keep)


def _differentiate(ctx: Any, d_hidden: Tensor, d_means: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    counts, up, gate, segments, keep = ctx.saved_tensors
    found = _backward(d_hidden, d_means, counts, up, gate, segments, keep, ctx.activation)
    return found[0], found[1] if gate is not None else None, None, None, None


_activated.register_autograd(_differentiate, setup_context=_remember)

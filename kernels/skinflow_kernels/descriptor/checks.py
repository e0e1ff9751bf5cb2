"""What is wrong with the arguments of the descriptor: a kernel would read beyond them without a word.

Axis letters: T tokens packed over images, S images, N features of a token, A features of the router's hidden
layer, G gains of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from skinflow_kernels.segments import segment_count


def check_tokens(
    operation: str,
    name: str,
    tokens: Tensor,
    segments: Tensor,
    keep: Tensor | None,
    gate: Tensor | None = None,
) -> None:
    """Raise ValueError with every mistake in tokens (T, N), called `name`, and what goes with them."""
    mistakes = []
    if tokens.dim() != 2 or not tokens.is_floating_point():
        mistakes.append(
            f"{name} has shape {tuple(tokens.shape)} and dtype {tokens.dtype}; "
            "expected (tokens, features) and floating"
        )
    if gate is not None:
        mistakes += _misfit("gate", gate, tuple(tokens.shape), tokens, name)
        if not gate.is_floating_point():
            mistakes.append(f"gate has dtype {gate.dtype}; expected floating")
    if keep is not None:
        mistakes += _misfit("keep", keep, (len(tokens) if tokens.dim() else 0,), tokens, name)
        if keep.dtype != torch.bool:
            mistakes.append(f"keep has dtype {keep.dtype}; expected torch.bool")
    try:
        segment_count(segments)
    except ValueError as mistake:
        mistakes.append(str(mistake))
    _complain(operation, mistakes)


def check_router(
    means: Tensor,
    reduce_weight: Tensor,
    norm_weight: Tensor,
    head_weights: Sequence[Tensor],
    head_biases: Sequence[Tensor],
    around: Sequence[float],
) -> None:
    """Raise ValueError with every mistake in the arguments of `router_gains`."""
    mistakes = []
    if means.dim() != 2 or reduce_weight.dim() != 2:
        mistakes.append(
            f"means have shape {tuple(means.shape)}, reduce_weight {tuple(reduce_weight.shape)}; "
            "expected (images, features) and (hidden features, features)"
        )
    elif not len(head_weights) == len(head_biases) == len(around):
        mistakes.append(
            f"found {len(head_weights)} head_weights, {len(head_biases)} head_biases and "
            f"{len(around)} around; expected as many of each"
        )
    else:
        width = len(reduce_weight)
        mistakes += _misfit("reduce_weight", reduce_weight, (width, means.shape[1]), means, "means")
        mistakes += _misfit("norm_weight", norm_weight, (width,), means, "means")
        for i, (weight, bias) in enumerate(zip(head_weights, head_biases, strict=True)):
            gains = len(bias) if bias.dim() else 0
            mistakes += _misfit(f"head_weights[{i}]", weight, (gains, width), means, "means")
            mistakes += _misfit(f"head_biases[{i}]", bias, (gains,), means, "means")
    _complain("router_gains", mistakes)


def _misfit(
    name: str, tensor: Tensor, shape: tuple[int, ...], beside: Tensor, its_name: str
) -> Iterator[str]:
    if tuple(tensor.shape) != shape:
        yield f"{name} has shape {tuple(tensor.shape)}; expected {shape}"
    if tensor.device != beside.device:
        yield f"{name} is on {tensor.device}; expected {beside.device}, as {its_name}"


def _complain(operation: str, mistakes: list[str]) -> None:
    if mistakes:
        raise ValueError(f"{operation}: " + "; ".join(mistakes))

"""A weight split into its frequency bands, the sum of the bands' parts, and bases that follow their weight.

P_k W = irfft2(mask_k * rfft2 W). These projections are self-adjoint, idempotent, disjoint, and add up to the
identity; so the derivative of the split is the join, and that of the join is the split.
Axis letters: O output features (rows), I input features (columns), K bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from skinflow_kernels.bands import band_map


def split_bands(weight: Tensor, thresholds: tuple[int, ...]) -> Tensor:
    """The parts P_k W of a weight (O, I), one for each band: (K, O, I), in the weight's dtype.

    Computed in float32 (float64 for a float64 weight), whatever autocast says. Differentiable any number of
    times. Ordinary tensors even under `torch.inference_mode`, so that they can be kept and trained with.
    """
    with _ordinary_tensors():
        parts: Tensor = _Split.apply(weight, thresholds)  # type: ignore[no-untyped-call]
    return parts


def join_bands(parts: Tensor, thresholds: tuple[int, ...]) -> Tensor:
    """The sum over k of P_k G_k for parts G (K, O, I): (O, I), in their dtype.

    The adjoint of `split_bands`; of what `split_bands` gave, the weight again.
    """
    with _ordinary_tensors():
        total: Tensor = _Join.apply(parts, thresholds)  # type: ignore[no-untyped-call]
    return total


def follow_weight(weight: Tensor, bases: Tensor, thresholds: tuple[int, ...]) -> Tensor:
    """The given bases (K, O, I) themselves, with a gradient to the weight (O, I) that they were split from.

    `bases` must be `split_bands(weight, thresholds)`, kept since the weight last changed; forward neither
    transforms nor copies them. Backward is `join_bands`.
    """
    connected: Tensor = _Follow.apply(weight, bases, thresholds)  # type: ignore[no-untyped-call]
    return connected


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(weight: Tensor, thresholds: tuple[int, ...]) -> Tensor:
        parts = weight.new_empty((len(thresholds) + 1, *weight.shape))
        if weight.is_meta:
            return parts
        with torch.autocast(weight.device.type, enabled=False):
            spectrum = torch.fft.rfft2(_wide(weight))
            bands = band_map(len(weight), weight.shape[1], thresholds, weight.device)
            for k, part in enumerate(parts):
                part.copy_(_inverse(torch.where(bands == k, spectrum, 0), weight.shape[1]))
        return parts

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        ctx.thresholds = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return join_bands(gradient, ctx.thresholds), None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(parts: Tensor, thresholds: tuple[int, ...]) -> Tensor:
        if parts.is_meta or not thresholds:
            return parts[-1].clone()
        with torch.autocast(parts.device.type, enabled=False):
            # The last band takes what the others leave, P_K = 1 - sum_{k<K} P_k, which spares a transform:
            # sum_k P_k G_k = G_K + sum_{k<K} P_k (G_k - G_K).
            last = _wide(parts[-1])
            bands = band_map(len(last), last.shape[1], thresholds, last.device)
            difference, spectrum = (
                torch.empty_like(last),
                torch.zeros((), dtype=last.dtype, device=last.device),
            )
            for k in range(len(thresholds)):
                torch.sub(parts[k], last, out=difference)
                spectrum = torch.where(bands == k, torch.fft.rfft2(difference), spectrum)
            return _inverse(spectrum, last.shape[1]).add_(last).to(parts.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...]], output: Tensor) -> None:
        ctx.thresholds = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return split_bands(gradient, ctx.thresholds), None


class _Follow(torch.autograd.Function):
    @staticmethod
    def forward(weight: Tensor, bases: Tensor, thresholds: tuple[int, ...]) -> Tensor:
        # detach() shares memory and version counter: bases that are overwritten between forward and backward
        # are noticed by whoever saved them.
        return bases.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, tuple[int, ...]], output: Tensor) -> None:
        ctx.thresholds = inputs[2]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return join_bands(gradient, ctx.thresholds), None, None


def _wide(part: Tensor) -> Tensor:
    """In a dtype that has transforms: float64 stays, all else is float32."""
    return part if part.dtype == torch.float64 else part.float()


def _inverse(spectrum: Tensor, columns: int) -> Tensor:
    """The inverse of rfft2: (O, I // 2 + 1) to (O, I). On a CPU, irfft2 takes up to twice as long as this."""
    matrix: Tensor = torch.fft.irfft(torch.fft.ifft(spectrum, dim=0), n=columns, dim=1)
    return matrix


@contextmanager
def _ordinary_tensors() -> Iterator[None]:
    """Outside inference mode, without the gradient recording that leaving it would switch on."""
    recording = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(recording):
        yield

"""The mean token of each image, in float32. torch's `skinflow::segment_means`.

Axis letters: T tokens packed over images, S images (segments), N features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinflow_kernels.descriptor.checks import check_tokens
from skinflow_kernels.descriptor.choice import by_triton
from skinflow_kernels.segments import image_sums, segment_count, segment_lengths
from skinflow_kernels.triton_support import launching_on


def segment_means(x: Tensor, segments: Tensor, keep: Tensor | None = None) -> Tensor:
    """The mean token of each image of x (T, N), over the tokens that `keep` (T,) allows: (S, N) float32.

    Summed in float32 (float64 for a float64 x, and returned so). An image of which nothing is kept has mean
    and gradient zero. What the other tokens hold, infinities included, plays no part. `segments` (S + 1,) is
    the cumulative token count; ValueError if it is none, or, on a GPU, a failed assertion of the device.
    ValueError too for arguments whose shapes, dtypes or devices do not fit together.
    """
    check_tokens("segment_means", "x", x, segments, keep)
    means: Tensor = _means(x, segments, keep)[0]
    return means


@torch.library.custom_op("skinflow::segment_means", mutates_args=())
def _means(x: Tensor, segments: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """The means (S, N), and how many tokens of each image were kept, at least 1: (S,)."""
    if by_triton(x):
        from skinflow_kernels.descriptor import triton_path

        with launching_on(x.device):
            return triton_path.means(x, segments, keep)
    return torch_means(x, segment_lengths(segments, len(x)), keep)


def torch_means(x: Tensor, lengths: list[int], keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    if keep is not None:
        x = x.masked_fill(~keep[:, None], 0)
    sums = image_sums(x, lengths, wide)
    kept = sums.new_tensor(lengths) if keep is None else image_sums(keep[:, None], lengths, wide)[:, 0]
    kept = kept.clamp(min=1)
    return sums.div_(kept[:, None]), kept


@_means.register_fake
def _(x: Tensor, segments: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    images = segment_count(segments)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty((images, x.shape[1]), dtype=wide), x.new_empty((images,), dtype=wide)


@torch.library.custom_op("skinflow::segment_means_backward", mutates_args=())
def _backward(
    d_means: Tensor, counts: Tensor, segments: Tensor, keep: Tensor | None, tokens: int, dtype: torch.dtype
) -> Tensor:
    if by_triton(d_means):
        from skinflow_kernels.descriptor import triton_path

        with launching_on(d_means.device):
            return triton_path.means_backward(d_means, counts, segments, keep, tokens, dtype)
    return torch_means_backward(d_means, counts, segment_lengths(segments, tokens), keep, dtype)


def torch_means_backward(
    d_means: Tensor, counts: Tensor, lengths: list[int], keep: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The gradient of the tokens (T, N), from that of the means (S, N), in plain PyTorch."""
    each = (d_means / counts[:, None]).to(dtype)
    repeats = torch.tensor(lengths, device=d_means.device)
    spread = each.repeat_interleave(repeats, 0, output_size=sum(lengths))
    return spread if keep is None else spread.masked_fill_(~keep[:, None], 0)


@_backward.register_fake
def _(
    d_means: Tensor, counts: Tensor, segments: Tensor, keep: Tensor | None, tokens: int, dtype: torch.dtype
) -> Tensor:
    return d_means.new_empty((tokens, d_means.shape[1]), dtype=dtype)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, segments, keep = inputs
    ctx.tokens, ctx.dtype = len(x), x.dtype
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], segments, keep)


def _differentiate(ctx: Any, d_means: Tensor, _: Any) -> tuple[Tensor, None, None]:
    counts, segments, keep = ctx.saved_tensors
    return _backward(d_means, counts, segments, keep, ctx.tokens, ctx.dtype), None, None


_means.register_autograd(_differentiate, setup_context=_remember)

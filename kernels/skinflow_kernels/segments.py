"""Where the images lie in a packed input, as numbers.

Axis letters: T tokens packed over images, S images (segments), I input features.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise

import torch
from torch import Tensor


def segment_count(segments: Tensor) -> int:
    """The number of images, S, from the cumulative count `segments` (S + 1,), without a look at its numbers.

    ValueError unless it is int32 or int64 and has one axis with at least one entry.
    """
    if segments.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"segments has dtype {segments.dtype}; expected torch.int32 or torch.int64")
    if segments.dim() != 1 or len(segments) == 0:
        raise ValueError(
            f"segments has shape {tuple(segments.shape)}; expected (images + 1,): the cumulative token count"
        )
    return len(segments) - 1


def segment_lengths(segments: Tensor, tokens: int) -> list[int]:
    """The number of tokens of each image, from the cumulative count `segments`: (S + 1,) to S integers.

    `segments` is int32 or int64, starts at 0, never decreases and ends at `tokens`; an image without tokens
    is legal. Anything else raises ValueError, which says what was found and what was expected. Segments on a
    GPU are waited for.
    """
    segment_count(segments)
    ends: list[int] = segments.tolist()
    if ends[0] != 0:
        raise ValueError(f"segments starts at {ends[0]}; expected 0, the cumulative count before any image")
    lengths = [end - start for start, end in pairwise(ends)]
    for image, length in enumerate(lengths):
        if length < 0:
            raise ValueError(
                f"segments decreases at index {image + 1}, from {ends[image]} to {ends[image + 1]}; "
                "expected a cumulative count"
            )
    if ends[-1] != tokens:
        raise ValueError(f"segments adds up to {ends[-1]} tokens, while the input has {tokens}")
    return lengths


def equal_runs(lengths: list[int]) -> Iterator[tuple[slice, slice, int]]:
    """Neighbouring images of one length, as (which images, which tokens, that length); empty ones left out.

    The tokens of such a run are one view (images, length, features), without a copy.
    """
    image = token = 0
    for length, group in groupby(lengths):
        images = sum(1 for _ in group)
        if length:
            yield slice(image, image + images), slice(token, token + images * length), length
        image, token = image + images, token + images * length


def image_sums(x: Tensor, lengths: list[int], dtype: torch.dtype) -> Tensor:
    """The sum over the tokens of each image: (T, I) to (S, I), added up in the dtype given."""
    sums = x.new_zeros((len(lengths), x.shape[1]), dtype=dtype)
    for images, tokens, length in equal_runs(lengths):
        sums[images] = x[tokens].reshape(-1, length, x.shape[1]).sum(1, dtype=dtype)
    return sums

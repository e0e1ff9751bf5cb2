"""What the launches of all kernels have in common: layouts, alignment, how much of the weights at a time.

Axis letters: S images, O output features, I input features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from skinflow_kernels.triton_support import interpreted, product_precision
from skinflow_kernels.virtual_width.tilings import Tiling


def rows_of(matrix: Tensor) -> Tensor:
    """The matrix itself where its last axis is contiguous, else a copy."""
    return matrix if matrix.stride(-1) == 1 else matrix.contiguous()


def alignment(*numbers: int) -> int:
    """The largest power of two, at most 16, that divides all of these sizes and distances."""
    return math.gcd(16, *numbers)


def how(tokens: Tensor, sizes: Tiling) -> dict[str, Any]:
    """What every product of tokens is launched with."""
    return {
        "PRECISION": product_precision(),
        "WIDEN": interpreted() and tokens.dtype == torch.bfloat16,
        "num_warps": sizes.warps,
        "num_stages": sizes.stages,
    }


def mixed_at_once(images: int, width: int, inner: int, itemsize: int, sizes: Tiling) -> tuple[int, int]:
    """Of how many images, and of how many of their `width` rows (columns), weights are mixed at once.

    The weights of all images together are S times the layer; nobody holds them. `slab_bytes` have room for so
    many rows of `inner` numbers. For every group of images the weight and its bases are read again, and for
    every slab the tokens; which takes no longer than their product if a slab has `slab_columns`, and so there
    are as many images in a group as leave that.
    """
    fitting = sizes.slab_bytes // max(inner * itemsize, 1)
    groups = _quotient(images, max(fitting // sizes.slab_columns, 1))
    together = _quotient(images, max(groups, 1))
    return together, step_of(width, fitting // max(together, 1), sizes.columns)


def step_of(width: int, most: int, tile: int) -> int:
    """The size of slabs, about equal, of at most `most` out of `width`: whole tiles, and at least one."""
    most = max(most // tile, 1) * tile
    each = _quotient(width, max(_quotient(width, most), 1))
    return min(width, _quotient(each, tile) * tile)


def _quotient(number: int, by: int) -> int:
    """Rounded up. `triton.cdiv` is not at hand: this module is read where there is no Triton."""
    return -(-number // by)


def parts(whole: int, step: int) -> Iterator[slice]:
    """The slabs of a weight, or groups of images, one after another."""
    for first in range(0, whole, max(step, 1)):
        yield slice(first, min(first + step, whole))

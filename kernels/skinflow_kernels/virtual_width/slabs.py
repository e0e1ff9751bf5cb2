"""A few output rows (a slab) of the weights of all images at a time, so that they are used while in cache.

The weights of all images together are S times the layer; nobody holds them. Axis letters: S images, I input
features, O output features, K bands, R output rows of a slab.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Products are best about square, as many rows as an image has tokens; below the first number they are slow,
# and above the second a slab has left every cache when it is used. Measured on a CPU.
FEWEST_ROWS = 128
MOST_BYTES = 64 * 2**20


class Slabs:
    """The slabs of a layer with weight (O, I), bases (K, O, I) and band amplitudes delta (S, K).

    Mixing is done in `wide`: float32, or float64 for a float64 weight.
    """

    def __init__(self, weight: Tensor, bases: Tensor, delta: Tensor, tokens: int) -> None:
        self.weight, self.bases = weight, bases
        self.wide = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self.delta = delta.to(self.wide)
        images = max(len(delta), 1)
        fitting = MOST_BYTES // (images * max(weight.shape[1], 1) * self.wide.itemsize)
        most = max(min(max(tokens // images, FEWEST_ROWS), fitting), 16)
        slabs = max(1, -(-len(weight) // most))
        self.rows = max(1, -(-len(weight) // slabs))

    def __iter__(self) -> Iterator[slice]:
        for first in range(0, len(self.weight), self.rows):
            yield slice(first, min(first + self.rows, len(self.weight)))

    def scratch(self, dtype: torch.dtype) -> Tensor:
        """Room for one slab of every image, flat, to be written again and again: fresh memory costs time."""
        return self.weight.new_empty(len(self.delta) * self.rows * self.weight.shape[1], dtype=dtype)

    def view(self, scratch: Tensor, rows: slice) -> Tensor:
        """The beginning of a scratch as (S, R, I)."""
        shape = (len(self.delta), rows.stop - rows.start, self.weight.shape[1])
        return scratch[: shape[0] * shape[1] * shape[2]].view(shape)

    def mixed(self, scratch: Tensor, rows: slice) -> Tensor:
        """Those rows of W_s = weight + sum_k delta_sk bases_k, in `wide`: (S, R, I), in the scratch.

        The weight is added, not multiplied by 1, so that it is exact even where products are rounded to TF32.
        """
        mixed = self.view(scratch, rows)
        parts = self.bases[:, rows].flatten(1).to(self.wide)
        torch.mm(self.delta, parts, out=mixed.flatten(1))
        return mixed.add_(self.weight[rows])

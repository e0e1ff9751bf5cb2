"""Bands of a weight matrix: which bin of its frequency plane belongs to which of K parts, by radius.

Integers only, so the split is the same on every device and version. Axis letters: O output features (rows),
I input features (columns), K bands.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def radius_keys(rows: int, columns: int) -> Tensor:
    """The squared radius of every bin of the half plane, as an exact int64: (rows, columns // 2 + 1).

    key(u, v) = (min(u, rows - u) * columns)^2 + (min(v, columns - v) * rows)^2, which orders bins as
    (u / rows)^2 + (v / columns)^2 does, without rounding. Bins that mirror one another have equal keys.
    """
    return _quadrant_keys(rows, columns)[_folded(rows, torch.device("cpu"))]


@functools.lru_cache(maxsize=256)
def band_thresholds(rows: int, columns: int, bands: int) -> tuple[int, ...]:
    """The smallest key of every band but the first, ascending: the K - 1 integers that define the split.

    The band of a bin is the number of thresholds that are <= its key. Each cut stands where the bins of the
    full grid below it come nearest to their equal share (at the smaller radius where two are as near), and is
    moved only as far as a band would be left empty. Bins of equal radius are never parted.

    Raises ValueError when there are fewer distinct radii than bands, or no band at all.
    """
    keys, below = _distinct_radii(rows, columns)
    if not 1 <= bands <= len(keys):
        raise ValueError(
            f"bands={bands} for a {rows} x {columns} weight: its frequency plane has {len(keys)} distinct "
            f"radii, so bands must be from 1 to {len(keys)}"
        )
    total = rows * columns
    cuts = [0]
    for band in range(1, bands):
        first, last = cuts[-1] + 1, len(keys) - (bands - band)
        place = int(torch.searchsorted(below, band * total // bands))
        near = [min(max(place + step, first), last) for step in (-1, 0, 1)]
        cuts.append(min(near, key=lambda cut: (abs(bands * int(below[cut]) - band * total), cut)))
    return tuple(int(keys[cut]) for cut in cuts[1:])


def band_map(rows: int, columns: int, thresholds: tuple[int, ...], device: torch.device) -> Tensor:
    """The band of every bin of the half plane, from 0: (rows, columns // 2 + 1), uint8, or int16 if K > 256.

    Kept is only a quarter of the full grid; it is unfolded at each call.
    """
    return _quadrant_map(rows, columns, thresholds, device)[_folded(rows, device)]


def _quadrant_keys(rows: int, columns: int) -> Tensor:
    # device="cpu" by name, here and below: under `with torch.device("meta")` the default holds no numbers.
    u = torch.arange(rows // 2 + 1, dtype=torch.int64, device="cpu") * columns
    v = torch.arange(columns // 2 + 1, dtype=torch.int64, device="cpu") * rows
    return u.square()[:, None] + v.square()


def _folded(size: int, device: torch.device) -> Tensor:
    """min(u, size - u) for every u, where a full axis finds itself in the quarter: (size,)."""
    u = torch.arange(size, device=device)
    return torch.minimum(u, size - u)


def _distinct_radii(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Every radius key once, ascending, and how many bins of the full grid have a smaller one: (R,), (R,)."""
    keys, order = _quadrant_keys(rows, columns).flatten().sort()
    # A bin of the quarter stands for 1, 2 or 4 of the grid: zero and Nyquist frequencies have no mirror.
    copies = [_folded(size, torch.device("cpu")).bincount() for size in (rows, columns)]
    counted = (copies[0][:, None] * copies[1]).flatten()[order].cumsum(0)
    distinct, runs = keys.unique_consecutive(return_counts=True)
    through = counted[runs.cumsum(0) - 1]
    return distinct, torch.cat((through.new_zeros(1), through[:-1]))


# Layers of one shape share a map: about 1.1 MB for 1280 x 3420.
@functools.lru_cache(maxsize=32)
def _quadrant_map(rows: int, columns: int, thresholds: tuple[int, ...], device: torch.device) -> Tensor:
    # Made in inference mode, the kept map would be useless for training afterwards.
    with torch.inference_mode(False):
        edges = torch.tensor(thresholds, dtype=torch.int64, device="cpu")
        bands = torch.bucketize(_quadrant_keys(rows, columns), edges, right=True)
        return bands.to(torch.uint8 if len(thresholds) < 256 else torch.int16).to(device)

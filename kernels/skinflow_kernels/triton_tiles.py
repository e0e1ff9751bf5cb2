"""Tiles of tokens for kernels that work image by image, made on the device: nobody waits for a GPU.

How many tokens each image has is known to the GPU alone. The grid of a kernel is therefore as large as it
could have to be, T // BLOCK + S tiles, and a table made on the device says which of them exist. Axis letters:
T tokens packed over images, S images (segments), N features, M tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TOKENS = 128
"""Tokens of a tile, unless something asks for another number."""


@dataclass(frozen=True)
class Tiles:
    """Where every tile begins: no tile holds tokens of two images.

    `image` and `row` (M,) are the image of a tile, or -1 for a tile that does not exist, and its first token;
    `first` (S + 1,) is the first tile of each image. `segments` are on the device of the tokens, contiguous.
    """

    segments: Tensor
    image: Tensor
    row: Tensor
    first: Tensor
    block: int

    @property
    def most(self) -> int:
        """M: how many tiles there can be, those that do not exist included."""
        return len(self.image)

    @property
    def images(self) -> int:
        return len(self.segments) - 1


def tiles_of(
    segments: Tensor, tokens: int, device: torch.device, block: int = TOKENS, *, checked: bool = False
) -> Tiles:
    """The tiles of `tokens` packed tokens.

    Unless they were `checked` before, the device asserts that segments are a cumulative count from 0 to
    `tokens`; nobody waits for it. The table is made anew for each call. Kept from one to the next it would
    save a launch, but a CUDA graph that found it there would not record how it was made, and be replayed with
    the images of another batch.
    """
    segments = segments.to(device).contiguous()
    images = len(segments) - 1
    most = tokens // block + images
    integers: dict[str, Any] = {"dtype": torch.int64, "device": device}
    image, row = torch.empty(most, **integers), torch.empty(most, **integers)
    first, right = torch.empty(images + 1, **integers), torch.empty((), dtype=torch.bool, device=device)
    _tile_table[(images + 1,)](
        segments, image, row, first, right, images, most, tokens,
        WIDTH=max(triton.next_power_of_2(images), 128), BLOCK=block, AT_ONCE=128,
    )  # fmt: skip
    if not checked:
        torch._assert_async(
            right,
            "skinflow_kernels: segments must start at 0, never decrease, and end at the number of tokens "
            f"({tokens})",
        )
    return Tiles(segments, image, row, first, block)


# Not compiled anew for numbers that change from batch to batch.
@triton.jit(do_not_specialize=["images", "most", "tokens"])
def _tile_table(
    segments, image, row, first, right, images, most, tokens,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """One program for each image, and one for what comes behind the last."""
    own = tl.program_id(0)
    every = tl.arange(0, WIDTH)
    known = every < images
    start = tl.load(segments + every, mask=known, other=0).to(tl.int64)
    end = tl.load(segments + every + 1, mask=known, other=0).to(tl.int64)
    counts = (tl.maximum(end - start, 0) + BLOCK - 1) // BLOCK
    before = tl.sum(tl.where(every < own, counts, 0), axis=0)
    tl.store(first + own, before)
    tile = before + tl.arange(0, AT_ONCE)
    if own < images:
        # A wrong count must not write beyond the table, nor for ages, before the assertion is heard.
        behind = tl.minimum(before + tl.sum(tl.where(every == own, counts, 0), axis=0), most)
        begin = tl.load(segments + own).to(tl.int64)
        for _ in range(before, behind, AT_ONCE):
            tl.store(image + tile, tl.full((AT_ONCE,), 0, tl.int64) + own, mask=tile < behind)
            tl.store(row + tile, begin + (tile - before) * BLOCK, mask=tile < behind)
            tile += AT_ONCE
    else:
        for _ in range(before, most, AT_ONCE):
            tl.store(image + tile, tl.full((AT_ONCE,), -1, tl.int64), mask=tile < most)
            tile += AT_ONCE
        wrong = tl.sum((known & (end < start)).to(tl.int32), axis=0)
        fits = (tl.load(segments) == 0) & (tl.load(segments + images) == tokens) & (wrong == 0)
        tl.store(right, fits)


def sums_of_tiles(partial: Tensor, tiles: Tiles) -> Tensor:
    """The sum of the rows of each image's tiles: (M, N) to (S, N), in float32, always in the same order."""
    features = partial.shape[1]
    sums = torch.empty((tiles.images, features), dtype=torch.float32, device=partial.device)
    if sums.numel():
        grid = (tiles.images, triton.cdiv(features, 128))
        _sum_tiles[grid](partial, tiles.first, sums, features, TILES=16, BLOCK=128)
    return sums


@triton.jit
def sum_of_tiles(partial, first, image, columns, features, TILES: tl.constexpr, BLOCK: tl.constexpr):
    """Some columns of the sum of the rows of an image's tiles: (BLOCK,), from partial (M, N)."""
    end = tl.load(first + image + 1)
    total = tl.zeros((BLOCK,), tl.float32)
    # Many rows under way at a time: one after another, those of a large image would be waited for one by one.
    for start in range(tl.load(first + image), end, TILES):
        tile = start + tl.arange(0, TILES)
        inside = (tile < end)[:, None] & (columns < features)[None, :]
        part = tl.load(partial + tile[:, None] * features + columns[None, :], mask=inside, other=0.0)
        total += tl.sum(part, axis=0)
    return total


@triton.jit
def _sum_tiles(partial, first, sums, features, TILES: tl.constexpr, BLOCK: tl.constexpr):
    image = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = sum_of_tiles(partial, first, image, columns, features, TILES, BLOCK)
    tl.store(sums + image * features + columns, total, mask=columns < features)

"""Which part of a picture each of its tokens stands for, in every family.

Axis letters: h, w cells from top to bottom and from left to right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.errors import InputError, Problem

Floats = NDArray[np.float64]
WHOLE = (0.0, 0.0, 1.0, 1.0)
# Families whose processor puts the tiles of an image row by row and the whole image, made small, behind them.
_TILED = ("idefics3", "internvl")


@dataclass(frozen=True)
class ImageGrid:
    """The cells of one picture in the order of its tokens.

    A tile has `height` x `width` cells. A picture that was cut has `rows` x `columns` tiles, one after
    another, and then a small copy of the whole. `box` (left, top, right, bottom) is the part of the picture
    that the model sees, as fractions of its sides.
    """

    height: int
    width: int
    rows: int = 1
    columns: int = 1
    box: tuple[float, float, float, float] = WHOLE

    @property
    def tiles(self) -> int:
        """How many images the vision tower is given, the small copy included."""
        return self.rows * self.columns + (self.rows * self.columns > 1)

    @property
    def tokens(self) -> int:
        return self.tiles * self.height * self.width

    def arrange(self, values: Floats) -> Floats:
        """A map (h, w) out of one value per token (last axis); its sum is that of the values.

        What a token of the small copy has is spread evenly over the cells below it.
        """
        lead = values.shape[:-1]
        tiles = values.reshape(*lead, self.tiles, self.height, self.width)
        if self.tiles == 1:
            return np.asarray(tiles[..., 0, :, :])
        cut = tiles[..., :-1, :, :].reshape(*lead, self.rows, self.columns, self.height, self.width)
        large = np.moveaxis(cut, -3, -2).reshape(*lead, self.rows * self.height, self.columns * self.width)
        spread = np.repeat(np.repeat(tiles[..., -1, :, :], self.rows, axis=-2), self.columns, axis=-1)
        return np.asarray(large + spread / (self.rows * self.columns))

    def covered(self, mask: NDArray[np.bool_]) -> Floats:
        """How much of every cell of the arranged map (h, w) a mask of the whole picture covers, 0 to 1."""
        height, width = mask.shape
        left, top, right, bottom = self.box
        down = _overlaps(self.rows * self.height, top * height, bottom * height, height)
        across = _overlaps(self.columns * self.width, left * width, right * width, width)
        return np.asarray(down @ mask.astype(np.float64) @ across.T)


def _overlaps(cells: int, start: float, end: float, pixels: int) -> Floats:
    """Which share of each of `cells` equal parts of start..end lies in each pixel: (cells, pixels)."""
    edges = np.linspace(start, end, cells + 1)[:, None]
    pixel = np.arange(pixels)[None, :]
    shared = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
    return np.asarray(np.clip(shared, 0.0, None) * cells / (end - start))


def grid_of(
    family: str, processor: Any, batch: Mapping[str, Any], size: tuple[int, int], tokens: int
) -> ImageGrid:
    """The grid of the only image of a batch that the processor made; `size` is (width, height) in pixels.

    Raises `InputError` when the image was cut in a way that is not known here.
    """
    if "image_grid_thw" in batch:
        _, height, width = (int(number) for number in batch["image_grid_thw"][0])
        merge = int(processor.image_processor.merge_size)
        return _fitting(ImageGrid(height // merge, width // merge), family, tokens)
    tiles = math.prod(batch["pixel_values"].shape[:-3])
    side = math.isqrt(tokens // tiles)
    if tiles == 1:
        return _fitting(ImageGrid(side, side, box=_seen(processor.image_processor, size)), family, tokens)
    if family not in _TILED:
        message = f"the processor cut the image into {tiles} pieces, and where they lie is not known here"
        hint = "turn the cutting off in processor_config.json (Gemma 3: do_pan_and_scan)"
        raise InputError(Problem(message, where=family, hint=hint))
    rows, columns = _layout(processor.image_processor, size, tiles - 1)
    return _fitting(ImageGrid(side, side, rows, columns), family, tokens)


def _fitting(grid: ImageGrid, family: str, tokens: int) -> ImageGrid:
    if grid.tokens != tokens:
        message = f"an image of {tokens} tokens does not fit a grid of {grid.tokens}: {grid}"
        raise InputError(
            Problem(message, where=family, hint="the processor's files are of another checkpoint")
        )
    return grid


def _layout(image_processor: Any, size: tuple[int, int], cut: int) -> tuple[int, int]:
    """Rows and columns of `cut` tiles."""
    width, height = size
    told = image_processor.get_number_of_image_patches(height, width)
    if isinstance(told, tuple):
        return int(told[1]), int(told[2])
    # InternVL tells their number alone; it chose the shape nearest to the picture's.
    columns = min(
        (n for n in range(1, cut + 1) if cut % n == 0), key=lambda n: abs(width / height - n * n / cut)
    )
    return cut // columns, columns


def _seen(image_processor: Any, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """What a centre crop leaves of the picture: CLIP scales the short side and cuts the long one."""
    shortest = getattr(image_processor, "size", {}).get("shortest_edge")
    if not getattr(image_processor, "do_center_crop", False) or shortest is None:
        return WHOLE
    crop, scale = image_processor.crop_size, shortest / min(size)
    across = min(1.0, crop["width"] / (size[0] * scale))
    down = min(1.0, crop["height"] / (size[1] * scale))
    return ((1 - across) / 2, (1 - down) / 2, (1 + across) / 2, (1 + down) / 2)

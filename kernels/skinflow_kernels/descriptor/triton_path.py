"""The descriptor on a GPU: which kernels run, in which order. Nothing here waits for the GPU.

Axis letters: T tokens packed over images, S images (segments), N features, M tiles of tokens.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from skinflow_kernels.descriptor import triton_kernels
from skinflow_kernels.descriptor.choice import BLOCK_N, BLOCK_T, REDUCE, head_sizes, launched
from skinflow_kernels.triton_support import interpreted
from skinflow_kernels.triton_tiles import Tiles, tiles_of
from skinflow_kernels.virtual_width.launching import rows_of


def means(x: Tensor, segments: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean token of each image, (S, N), and how many were kept, at least 1: (S,)."""
    x, tiles = rows_of(x), _tiles(segments, x)
    sums = _Sums(tiles, x.shape[1])
    if grid := sums.grid():
        triton_kernels.pool[grid](
            x, _flat(keep), sums.partial, sums.kept, *_table(tiles), x.shape[1], x.stride(0),
            **launched(x.shape[1], keep, tiles.block, x.stride(0)),
        )  # fmt: skip
    return sums.averaged()


def means_backward(
    d_means: Tensor, counts: Tensor, segments: Tensor, keep: Tensor | None, tokens: int, dtype: torch.dtype
) -> Tensor:
    """The gradient of the tokens, (T, N)."""
    features = d_means.shape[1]
    d_x = torch.empty((tokens, features), dtype=dtype, device=d_means.device)
    tiles = _tiles(segments, d_x, checked=True)
    if grid := _grid(tiles, features):
        triton_kernels.spread_means[grid](
            d_means.contiguous(), counts, _flat(keep), d_x, *_table(tiles), features,
            **launched(features, keep, tiles.block),
        )  # fmt: skip
    return d_x


def activated(
    up: Tensor, gate: Tensor | None, segments: Tensor, keep: Tensor | None, activation: str
) -> tuple[Tensor, Tensor, Tensor]:
    """act(gate) up, or act(up), (T, N); its means (S, N), and how many tokens were kept, at least 1: (S,)."""
    up, gate = rows_of(up), None if gate is None else rows_of(gate)
    tiles, (tokens, features) = _tiles(segments, up), up.shape
    hidden = up.new_empty((tokens, features))
    sums = _Sums(tiles, features)
    rows = up.stride(0), 0 if gate is None else gate.stride(0)
    if grid := sums.grid():
        triton_kernels.activate[grid](
            up, gate, hidden, _flat(keep), sums.partial, sums.kept, *_table(tiles), features, *rows,
            ACTIVATION=activation, GATED=gate is not None, **launched(features, keep, tiles.block, *rows),
        )  # fmt: skip
    return hidden, *sums.averaged()


def activated_backward(
    d_hidden: Tensor,
    d_means: Tensor,
    counts: Tensor,
    up: Tensor,
    gate: Tensor | None,
    segments: Tensor,
    keep: Tensor | None,
    activation: str,
) -> list[Tensor]:
    """The gradients of up and, where there is one, gate: (T, N) each."""
    up, gate, d_hidden = rows_of(up), None if gate is None else rows_of(gate), rows_of(d_hidden)
    tiles, features = _tiles(segments, up, checked=True), up.shape[1]
    found = [up.new_empty(up.shape) for _ in range(1 if gate is None else 2)]
    rows = up.stride(0), 0 if gate is None else gate.stride(0), d_hidden.stride(0)
    if grid := _grid(tiles, features):
        triton_kernels.activate_backward[grid](
            up, gate, d_hidden, d_means.contiguous(), counts, _flat(keep), found[0],
            None if gate is None else found[1], *_table(tiles), features, *rows,
            ACTIVATION=activation, GATED=gate is not None, **launched(features, keep, tiles.block, *rows),
        )  # fmt: skip
    return found


def gains(
    means: Tensor,
    reduce_weight: Tensor,
    norm_weight: Tensor,
    head_weights: list[Tensor],
    head_biases: list[Tensor],
    around: list[float],
    epsilon: float,
) -> list[Tensor]:
    """The gains (S, G) of every head, from means (S, N)."""
    images, (width, features) = len(means), reduce_weight.shape
    z = torch.empty((images, width), dtype=torch.float32, device=means.device)
    found = [z.new_empty((images, len(bias))) for bias in head_biases]
    if not images:
        return found
    # Few rows, so that there are programs enough, and long pieces of them, so that few wait for one another.
    triton_kernels.reduce[(images, triton.cdiv(width, REDUCE["BLOCK_A"]))](
        means.contiguous(), reduce_weight.contiguous(), z, features, width, **REDUCE
    )
    sizes = head_sizes(width)
    for gain, weight, bias, middle in zip(found, head_weights, head_biases, around, strict=True):
        triton_kernels.head[(images, triton.cdiv(len(bias), sizes["BLOCK"]))](
            z, norm_weight.contiguous(), weight.contiguous(), bias.contiguous(), gain,
            len(bias), width, epsilon, middle, **sizes,
        )  # fmt: skip
    return found


class _Sums:
    """Room for the sums over tiles, and the way from them to means."""

    def __init__(self, tiles: Tiles, features: int) -> None:
        self.tiles, self.features = tiles, features
        new: dict[str, Any] = {"dtype": torch.float32, "device": tiles.image.device}
        self.partial, self.kept = torch.empty(tiles.most, features, **new), torch.empty(tiles.most, **new)

    def grid(self) -> tuple[int, int] | None:
        return _grid(self.tiles, self.features)

    def averaged(self) -> tuple[Tensor, Tensor]:
        images = self.tiles.images
        means, counts = self.partial.new_empty(images, self.features), self.partial.new_empty(images)
        if images and self.features:
            grid = images, triton.cdiv(self.features, 128)
            triton_kernels.average[grid](
                self.partial, self.kept, self.tiles.first, means, counts, self.features, TILES=16, BLOCK=128
            )
        return means, counts


def _tiles(segments: Tensor, tokens: Tensor, *, checked: bool = False) -> Tiles:
    # Under the interpreter several tiles an image, as elsewhere.
    block = 16 if interpreted() else BLOCK_T
    return tiles_of(segments, len(tokens), tokens.device, block, checked=checked)


def _flat(keep: Tensor | None) -> Tensor | None:
    return None if keep is None else keep.contiguous()


def _table(tiles: Tiles) -> tuple[Tensor, Tensor, Tensor]:
    return tiles.image, tiles.row, tiles.segments


def _grid(tiles: Tiles, features: int) -> tuple[int, int] | None:
    """The grid of kernels over tiles; None where there is nothing to do."""
    return (tiles.most, triton.cdiv(features, BLOCK_N)) if tiles.most and features else None

"""The virtual-width linear layer on a GPU: which kernels run, over which part of the weight, in which order.

Weights are mixed a slab at a time, some rows (or columns) of the weights of some images, and used before they
have left the L2 cache; where an image has few tokens, they are mixed within the product and never stored.
Nothing here waits for the GPU or asks it for a number, so that a CUDA graph can record all of it.
Axis letters: T tokens packed over images, S images, O output features, I input features, K bands, M tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import triton
from torch import Tensor

from skinflow_kernels.triton_tiles import sums_of_tiles, tiles_of
from skinflow_kernels.virtual_width import triton_kernels
from skinflow_kernels.virtual_width.call import Call
from skinflow_kernels.virtual_width.launching import alignment, how, mixed_at_once, parts, rows_of
from skinflow_kernels.virtual_width.tilings import tiling
from skinflow_kernels.virtual_width.triton_gradients import weight_gradients


def forward(call: Call) -> Tensor:
    """Each token of x (T, I) through the weight of its own image: (T, O), in x's dtype."""
    call = _with_rows(call)
    product = _Product(call, over_rows=True)
    y, _ = product(call.x, call.input_gain, call.output_gain, bias=call.bias)
    return y


def backward(call: Call, dy: Tensor, wants: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """The gradients of TRAINED, those that are wanted, from that of the output, dy (T, O).

    The formulas stand in `op`.
    """
    wants_x, wants_weight, wants_bases, wants_delta, wants_bias, wants_in, wants_out = wants
    call, dy = _with_rows(call), rows_of(dy)
    d_x = d_in = d_bias = None
    product = _Product(call, over_rows=False, checked=True)
    if wants_x or wants_in:
        d_x, d_in = product(dy, call.output_gain, call.input_gain, other=call.x if wants_in else None)
    of_weights = (wants_weight, wants_bases, wants_delta, wants_out)
    d_weight, d_bases, d_delta, d_out = weight_gradients(
        call, dy, product.tiles.segments, product.sizes, of_weights
    )
    if wants_bias:
        assert call.bias is not None
        d_bias = dy.sum(0, dtype=torch.float32).to(call.bias.dtype)
    d_in, d_out = (
        None if found is None or given is None else found.to(given.dtype)
        for found, given in ((d_in, call.input_gain), (d_out, call.output_gain))
    )
    return d_x if wants_x else None, d_weight, d_bases, d_delta, d_bias, d_in, d_out


def _with_rows(call: Call) -> Call:
    """The call with tensors as the kernels want them: contiguous rows, amplitudes in float32."""
    optional: dict[str, Any] = {
        name: None if (found := getattr(call, name)) is None else found.contiguous()
        for name in ("bias", "input_gain", "output_gain")
    }
    matrices = {name: rows_of(getattr(call, name)) for name in ("x", "weight", "bases")}
    return replace(call, band_delta=call.band_delta.float().contiguous(), **matrices, **optional)


class _Product:
    """gain_out (W_s (gain_in tokens_t)) + bias for the tokens of one call: (T, C) to (T, N).

    N are the rows of the weight and C its columns, or, unless `over_rows`, the other way round.
    """

    def __init__(self, call: Call, *, over_rows: bool, checked: bool = False) -> None:
        self.call, self.over_rows, self.axis = call, over_rows, 0 if over_rows else 1
        self.sizes = tiling(call.x.dtype)
        # By the mean length of an image, because no other is known here.
        self.few = len(call.x) < self.sizes.few_tokens * call.images
        block = self.sizes.few_block if self.few else self.sizes.tokens
        self.tiles = tiles_of(call.segments, len(call.x), call.x.device, block, checked=checked)
        self.width, self.inner = call.weight.shape[self.axis], call.weight.shape[1 - self.axis]

    def __call__(
        self,
        tokens: Tensor,
        gain_in: Tensor | None,
        gain_out: Tensor | None,
        *,
        bias: Tensor | None = None,
        other: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The product; and, with `other` (T, N), the sum over each image's tokens of it times the product.

        The latter (S, N) is in float32, and taken before gain_out.
        """
        call, tiles, sizes = self.call, self.tiles, self.sizes
        output = tokens.new_empty((len(tokens), self.width))
        partial = None
        if other is not None:
            partial = torch.empty((tiles.most, self.width), dtype=torch.float32, device=tokens.device)
        common = {
            "tokens": tokens, "bases": call.bases, "delta": call.band_delta, "bias": bias,
            "gain_in": gain_in, "gain_out": gain_out, "other": other, "output": output, "partial": partial,
            "tile_image": tiles.image, "tile_row": tiles.row, "segments": tiles.segments,
            "bands": len(call.bases), "inner": self.inner, "width": self.width,
            "token_row": tokens.stride(0), "basis": call.bases.stride(0), "basis_row": call.bases.stride(1),
            "other_row": 0 if other is None else other.stride(0),
            "OVER_ROWS": self.over_rows, "BIAS": bias is not None, "GAIN_IN": gain_in is not None,
            "GAIN_OUT": gain_out is not None, "DOT_OTHER": other is not None,
            "BLOCK_T": tiles.block, "BLOCK_N": sizes.columns,
            "BLOCK_C": sizes.few_inner if self.few else sizes.inner, **how(tokens, sizes),
        }  # fmt: skip
        if self.few:
            self._launch(call.weight, slice(0, self.width), slice(0, call.images), common, mix=True)
        else:
            together, step = mixed_at_once(call.images, self.width, self.inner, tokens.dtype.itemsize, sizes)
            scratch = tokens.new_empty(together * step * self.inner)
            for part in parts(self.width, step):
                for some in parts(call.images, together):
                    self._launch(self._mixed(scratch, part, some), part, some, common, mix=False)
        return output, None if partial is None else sums_of_tiles(partial, tiles)

    def _launch(
        self, weight: Tensor, part: slice, images: slice, common: dict[str, Any], *, mix: bool
    ) -> None:
        """Some columns of the product of some images, from the weight (mix) or `_mixed` of these."""
        columns = part.stop - part.start
        numbers = {
            "columns": columns, "first": part.start, "weight_row": weight.stride(-2),
            "weight_image": 0 if mix else weight.stride(0),
        }  # fmt: skip
        sized = ("inner", "width", "token_row", "basis", "basis_row", "other_row")
        align = alignment(*numbers.values(), *(common[name] for name in sized))
        grid = (self.tiles.most * triton.cdiv(columns, self.sizes.columns),)
        if grid[0]:
            triton_kernels.image_matmul[grid](
                weight=weight, begin=images.start, end=images.stop, MIX=mix, ALIGN=align, **numbers, **common
            )

    def _mixed(self, scratch: Tensor, part: slice, images: slice) -> Tensor:
        """Those rows (or columns) of the weights of those images: (images, rows, columns)."""
        narrow = part.start, part.stop - part.start
        weight, bases = (
            m.narrow(m.dim() - 2 + self.axis, *narrow) for m in (self.call.weight, self.call.bases)
        )
        delta, (rows, columns), sizes = self.call.band_delta[images], weight.shape, self.sizes
        mixed = scratch[: len(delta) * rows * columns].view(len(delta), rows, columns)
        strides = weight.stride(0), bases.stride(0), bases.stride(1)
        # A program that mixes for fewer images mixes more columns.
        together = min(sizes.mix_images, triton.next_power_of_2(len(delta)))
        block = sizes.mix_block * min(sizes.mix_images // together, 2)
        grid = (rows, triton.cdiv(columns, block), triton.cdiv(len(delta), together))
        if all(grid):
            triton_kernels.mix[grid](
                weight, bases, delta, mixed, len(delta), len(bases), rows, columns, *strides,
                IMAGES=together, BLOCK=block, ALIGN=alignment(columns, *strides),
            )  # fmt: skip
        return mixed

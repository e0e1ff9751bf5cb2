"""The gradients of weight, bases, amplitudes and output gain on a GPU.

Axis letters: T tokens packed over images, S images, O output features, I input features, K bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from skinflow_kernels.virtual_width import triton_kernels
from skinflow_kernels.virtual_width.call import Call
from skinflow_kernels.virtual_width.launching import alignment, how, parts, step_of
from skinflow_kernels.virtual_width.tilings import Tiling


def weight_gradients(
    call: Call, dy: Tensor, segments: Tensor, sizes: Tiling, wants: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """The gradients of weight, bases, delta and output gain, each if wanted, from dy (T, O).

    All four need of the tokens only G_s = sum_t dy_t (c x_t)^T. Where bases have no gradient (they are
    frozen, or their weight is), one pass does all of it, and no G_s is ever stored. Where they have one, f
    G_s is kept a slab at a time and spread over weight and bases: K accumulators do not fit into registers.
    """
    wants_weight, wants_bases, wants_delta, wants_out = wants
    if not any(wants):
        return None, None, None, None
    (rows, columns), images, bands = call.weight.shape, call.images, len(call.bases)
    new: dict[str, Any] = {"dtype": torch.float32, "device": dy.device}
    column_blocks = triton.cdiv(columns, sizes.outer_columns)
    d_weight = call.weight.new_empty(rows, columns) if wants_weight else None
    d_bases = call.bases.new_empty(bands, rows, columns) if wants_bases else None
    d_delta: Tensor | None = None
    d_gain = torch.empty(images, column_blocks, rows, **new) if wants_out else None
    # Where nothing is added up over images, they are worked on side by side.
    each = images if wants_weight and not wants_bases else 1
    products, step = None, rows
    if wants_bases:
        fitting = sizes.slab_bytes // (4 * max(images * columns, 1))
        step = step_of(rows, fitting, sizes.outer_rows)
        products = torch.empty(images * step * columns, **new)
    sized = {
        "columns": columns, "width": rows, "dy_row": dy.stride(0), "x_row": call.x.stride(0),
        "weight_row": call.weight.stride(0), "basis": call.bases.stride(0), "basis_row": call.bases.stride(1),
    }  # fmt: skip
    common = {
        "dy": dy, "x": call.x, "gain_in": call.input_gain, "gain_out": call.output_gain,
        "weight": call.weight, "bases": call.bases, "delta": call.band_delta, "segments": segments,
        "d_weight": d_weight, "d_gain": d_gain, "products": products,
        "images": images, "each": each, "bands": bands, **sized,
        "GAIN_IN": call.input_gain is not None, "GAIN_OUT": call.output_gain is not None,
        "D_WEIGHT": wants_weight and not wants_bases, "D_DELTA": wants_delta, "D_GAIN": wants_out,
        "KEEP": wants_bases, "BLOCK_T": sizes.outer_tokens, "BLOCK_O": sizes.outer_rows,
        "BLOCK_I": sizes.outer_columns, **how(dy, sizes),
    }  # fmt: skip
    for part in parts(rows, step):
        count = part.stop - part.start
        blocks = triton.cdiv(count, sizes.outer_rows) * column_blocks
        of_tiles = torch.empty(images, bands, blocks, **new) if wants_delta else None
        # Without images too: then it writes the zeros that are their gradient.
        grid = (blocks, triton.cdiv(images, each) if each else 1)
        align = alignment(count, part.start, *sized.values())
        triton_kernels.outer[grid](d_delta=of_tiles, rows=count, first=part.start, ALIGN=align, **common)
        if of_tiles is not None:
            of_part = of_tiles.sum(-1)
            d_delta = of_part if d_delta is None else d_delta + of_part
        if d_bases is not None and products is not None:
            _spread(products, call.band_delta, d_weight, d_bases, part, sizes)
    return d_weight, d_bases, d_delta, None if d_gain is None else d_gain.sum(1)


def _spread(
    products: Tensor, delta: Tensor, d_weight: Tensor | None, d_bases: Tensor, part: slice, sizes: Tiling
) -> None:
    """From f G_s of some rows, (S, rows, columns), the gradients of those rows of weight and bases."""
    (images, bands), columns = delta.shape, d_bases.shape[2]
    size, first, basis = (part.stop - part.start) * columns, part.start * columns, d_bases.stride(0)
    together = min(triton.next_power_of_2(bands), 4)
    grid = (triton.cdiv(size, sizes.spread_block), triton.cdiv(bands, together))
    if all(grid):
        triton_kernels.spread[grid](
            products, delta, d_weight, d_bases, images, bands, size, first, basis,
            D_WEIGHT=d_weight is not None, BANDS=together, BLOCK=sizes.spread_block,
            ALIGN=alignment(size, first, basis),
        )  # fmt: skip

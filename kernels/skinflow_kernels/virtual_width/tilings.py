"""How large the pieces are that the Triton kernels work on: by dtype, and smaller under the interpreter.

Not tuned by measurement yet; `kernels/bench/virtual_width.py --tune` measures others. They are the largest of
common GEMM sizes with which every kernel, compiled for Hopper, keeps its sums in registers and its
loads running ahead (tests/kernels/test_compiled.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from skinflow_kernels.triton_support import interpreted


@dataclass(frozen=True)
class Tiling:
    """Sizes of tiles: `tokens` x `columns` of a product, `inner` at a time; and what runs them.

    Images of fewer than `few_tokens` tokens on average are mixed within the product, in tiles of `few_block`
    tokens and `few_inner` at a time; those of more tokens beforehand, `mix_images` x `mix_block` columns by a
    program, into `slab_bytes`: what stays in the L2 cache (50 MB on an H100) beside the tokens. That is more
    only where a single tile of columns is. `slab_columns`: with fewer, reading the tokens from memory (3 TB/s
    on an H100) takes longer than multiplying them.
    `outer_*` are for the gradient of the weight: rows x columns of it, `outer_tokens` at a time;
    `spread_block` numbers of it are spread over the bases by a program.
    """

    tokens: int = 128
    columns: int = 128
    inner: int = 64
    warps: int = 8
    stages: int = 3
    few_tokens: int = 128
    few_block: int = 64
    few_inner: int = 32
    mix_images: int = 8
    mix_block: int = 512
    slab_bytes: int = 24 * 2**20
    slab_columns: int = 256
    outer_rows: int = 128
    outer_columns: int = 64
    outer_tokens: int = 64
    spread_block: int = 512


SIXTEEN_BITS = Tiling()
THIRTY_TWO_BITS = Tiling(
    tokens=64, columns=64, inner=32, warps=4, outer_rows=64, outer_columns=32, outer_tokens=32
)
# Several tiles along every axis of a tiny layer, because that is where mistakes are.
INTERPRETED = Tiling(
    tokens=16,
    columns=16,
    inner=16,
    few_tokens=5,
    few_block=16,
    few_inner=16,
    mix_images=2,
    mix_block=16,
    slab_bytes=4096,
    slab_columns=16,
    outer_rows=16,
    outer_columns=16,
    outer_tokens=16,
    spread_block=256,
)

_override: dict[str, int] = {}


def tiling(dtype: torch.dtype) -> Tiling:
    """The sizes for tokens of that dtype."""
    compiled = THIRTY_TWO_BITS if dtype == torch.float32 else SIXTEEN_BITS
    return replace(INTERPRETED if interpreted() else compiled, **_override)


def override(**sizes: int) -> None:
    """Use other sizes from now on, for benchmarks and tests; without any, the usual ones again."""
    _override.clear()
    replace(SIXTEEN_BITS, **sizes)  # an unknown name is a TypeError here
    _override.update(sizes)

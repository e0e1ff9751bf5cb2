"""Whether the descriptor of some tokens is computed by Triton's kernels, as the layer itself would be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinflow_kernels.backends import Where
from skinflow_kernels.virtual_width.dispatch import chosen_backend
from skinflow_kernels.virtual_width.launching import alignment

BLOCK_T, BLOCK_N, WARPS = 64, 64, 8
"""Tokens and features of a tile, and what works on it."""
REDUCE = {"BLOCK_A": 4, "BLOCK": 1024}
"""Rows of the router's first layer, and how much of them at a time."""


def by_triton(tokens: Tensor) -> bool:
    """Whether "auto" is triton for these tokens; every other backend has the path in plain PyTorch."""
    chosen: str = _backend(tokens.device, tokens.dtype)
    return chosen == "triton"


# A compiler asks once, when it traces: the answer depends on nothing that changes while a program runs.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _backend(device: torch.device, dtype: torch.dtype) -> str:
    return chosen_backend("auto", Where(device, dtype, dtype)).name


def launched(features: int, keep: Tensor | None, block: int, *rows: int) -> dict[str, Any]:
    """What kernels over tiles of tokens are launched with; `rows` are the distances between their rows."""
    return {
        "KEEP": keep is not None,
        "BLOCK_T": block,
        "BLOCK_N": BLOCK_N,
        "ALIGN": alignment(features, *rows),
        "num_warps": WARPS,
    }


def head_sizes(width: int) -> dict[str, int]:
    """The size of the router's hidden layer, and of how many gains a program has the weights in registers."""
    padded = 1 << max(width - 1, 0).bit_length()
    return {"WIDTH": padded, "BLOCK": min(64, max(8192 // padded, 1))}

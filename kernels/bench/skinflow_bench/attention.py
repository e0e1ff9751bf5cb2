"""Attention of a vision tower over packed images on a GPU, where flash-attn is not installed.

transformers' sdpa attends to each image and each window by itself, thousands of launches in a tower; what a
layer costs then disappears behind the host. torch has a kernel for packed sequences, as flash-attn has.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

VARLEN = "varlen_flash"
"""Our name of torch's kernel; transformers hands packed sequences to what has `flash` in its name."""


def chosen(device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """The fastest attention there is for a tower, and why it is no faster one."""
    if device.type != "cuda" or dtype == torch.float32:
        return "sdpa", ""
    if find_spec("flash_attn") is not None:
        return "flash_attention_2", ""
    try:
        q = torch.randn(1, 2, 8, 80, device=device, dtype=dtype)
        ends = torch.tensor([0, 3, 8], device=device, dtype=torch.int32)
        _varlen(None, q, q, q, None, cu_seq_lens_q=ends, cu_seq_lens_k=ends, max_length_q=5)
    except Exception as error:
        return "sdpa", f"flash-attn is not installed, and torch's varlen_attn fails: {error}"
    return VARLEN, ""


def use(tower: Any, attention: str) -> None:
    """Let a tower that was made with sdpa attend in another way."""
    if attention == VARLEN:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        ALL_ATTENTION_FUNCTIONS.register(VARLEN, _varlen)
    tower.config._attn_implementation = attention


def _varlen(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    cu_seq_lens_k: Tensor,
    max_length_q: Any,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of packed sequences, each (1, heads, T, channels): (1, T, heads, channels)."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    longest = int(max_length_q)
    y: Any = varlen_attn(q, k, v, cu_seq_lens_q.int(), cu_seq_lens_k.int(), longest, longest)
    return y[None], None

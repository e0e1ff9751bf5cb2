"""Vision blocks that tell their MLP which tokens belong to which image.

Each is mixed into the base model's own block class and repeats its forward, with the images handed on as an
argument. Nothing is kept on a module: under gradient checkpointing a block is computed again, long after
other images have passed.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor


class PackedBlock:
    """A block of Qwen2.5-VL's or Qwen3-VL's tower whose `cu_seqlens` counts the tokens of each image."""

    attn: Any
    mlp: Any
    norm1: Any
    norm2: Any

    def forward(self, hidden_states: Tensor, cu_seqlens: Tensor, **kwargs: Any) -> Any:
        """Tokens (T, C) in and out; `cu_seqlens` (S+1,)."""
        hidden_states = hidden_states + self.attn(self.norm1(hidden_states), cu_seqlens=cu_seqlens, **kwargs)
        return hidden_states + self.mlp(self.norm2(hidden_states), cu_seqlens)


class MaskedBlock:
    """A block of a SigLIP-like tower over rows that may be padded, as in Idefics 3."""

    layer_norm1: Any
    layer_norm2: Any
    mlp: Any
    self_attn: Any

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None, **kwargs: Any) -> Any:
        """Images (S, N, C) in and out."""
        normed = self.layer_norm1(hidden_states)
        attended, _ = self.self_attn(hidden_states=normed, attention_mask=attention_mask, **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.layer_norm2(hidden_states), keep=real_tokens(attention_mask))


def real_tokens(attention_mask: Tensor | None) -> Tensor | None:
    """Which tokens (S, N) are no padding, from any of the masks that transformers makes; None when all are.

    A token is real when some other attends to it. Raises `TypeError` for flex attention's block masks.
    """
    if attention_mask is None:
        return None
    if not isinstance(attention_mask, Tensor):
        raise TypeError(
            f"cannot read padding from a {type(attention_mask).__name__}; use sdpa or eager attention"
        )
    if attention_mask.ndim == 2:  # flash attention
        return attention_mask.bool()
    # (S, 1, queries, keys): boolean for sdpa; for eager attention added to logits, so 0 where attended
    attended = attention_mask if attention_mask.dtype == torch.bool else attention_mask == 0
    return attended.any(dim=-2).any(dim=1)


@cache
def block_class(images: str, base: type) -> type:
    """The class of a block made from its class `base`, for a seam's `images`; `base` where that will do.

    It keeps the base's name, because transformers, accelerate and FSDP go by names of block classes.
    """
    known: dict[str, type | None] = {"packed": PackedBlock, "masked_rows": MaskedBlock, "rows": None}
    if images in known:
        mixed = known[images]
    else:
        module, _, name = images.partition(":")
        mixed = getattr(import_module(module), name)
    return base if mixed is None else type(base.__name__, (mixed, base), {"__module__": __name__})

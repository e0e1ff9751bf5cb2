"""Opens checkpoints of ours with transformers alone: no recipe, no ms-swift."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.models.dynamic.family import register
from skinflow_plugins.models.families import FAMILIES, BaseFamily


def load(checkpoint: str | Path, *, families: Sequence[BaseFamily] = FAMILIES, **options: Any) -> Any:
    """The model of a checkpoint, with or without a dynamic vision encoder, in evaluation mode.

    `families` are the base families that it may belong to; name a third party's here. `options` go to
    transformers' `from_pretrained` (dtype, device_map, attn_implementation, ...). Raises `InputError` when
    weights of dynamic projections are missing or ambiguous.
    """
    from transformers import AutoModelForImageTextToText

    register(families)
    return AutoModelForImageTextToText.from_pretrained(checkpoint, **options).eval()

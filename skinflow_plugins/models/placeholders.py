"""The tokens that stand for images in a prompt, which no answer may hold.

A sampled one breaks the next forward pass ("image tokens do not match image features"), or shifts images to
the wrong places. Trainer and rollout engines leave out the same ids, or their log-probabilities would differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.models.families import FAMILIES, BaseFamily

NO_LOGIT = -1.0e4
"""Instead of minus infinity, which gives NaN in an entropy; exp of it is 0 in every precision."""


def never_sampled(
    tokenizer: Any, model_type: str, generation_config: Any = None, families: Sequence[BaseFamily] = FAMILIES
) -> tuple[int, ...]:
    """Ids, ascending: the family's image placeholders, and what `generation_config` suppresses already.

    Ids come from `tokenizer`; a placeholder that it does not know is left out. `model_type` is that of a
    config.json, of a base family or of its dynamic one; of an unknown one, no placeholders are known.
    """
    found = set(getattr(generation_config, "suppress_tokens", None) or ())
    known = tokenizer.get_vocab()
    for family in families:
        if model_type in (family.hf_model_type, f"skinflow_{family.hf_model_type}"):
            found |= {known[token] for token in family.image_placeholders if token in known}
    return tuple(sorted(found))


def generation_config_of(model: str | Path) -> Any:
    """The generation_config.json of a folder or hub id; None when it has none."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(str(model))
    except OSError:
        return None

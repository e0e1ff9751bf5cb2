"""No image token is sampled by transformers' `generate`, or counted where vLLM and trainer are compared."""

from __future__ import annotations

from typing import Any

from skinflow_plugins.engine.plugin import bases
from skinflow_plugins.models.placeholders import NO_LOGIT, never_sampled


def suppress_placeholders(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Make a model's own `generate` suppress image placeholders; returns their ids. Repeats without harm."""
    ids = never_sampled(tokenizer, model.config.model_type, model.generation_config, bases())
    model.generation_config.suppress_tokens = list(ids) or None
    return ids


def leave_out_placeholders(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The same, and its logits give them no probability: the distribution that vLLM samples from.

    Liger's fused loss has no logits, so recipes may not join it with vLLM.
    """
    ids = suppress_placeholders(model, tokenizer)
    head = model.get_output_embeddings()
    if ids and not hasattr(head, "skinflow_leaves_out"):
        import torch

        index = torch.tensor(ids)

        def hook(module: Any, inputs: Any, logits: Any) -> Any:
            # In place: a linear's backward does not need its output, and logits are large.
            return logits.index_fill_(-1, index.to(logits.device), NO_LOGIT)

        head.register_forward_hook(hook)
        head.skinflow_leaves_out = ids
    return ids

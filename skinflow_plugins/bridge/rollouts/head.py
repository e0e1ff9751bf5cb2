"""The trainer's output head without image tokens: the distribution that the rollout engine samples from."""

from __future__ import annotations

from typing import Any

from skinflow_plugins.models.placeholders import NO_LOGIT, never_sampled


def leave_out_placeholders(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Make a causal model give image placeholders no probability; returns their ids.

    Also makes its own `generate` suppress them. Call it any number of times. Where swift computes
    log-probabilities without logits (Liger's fused loss), they keep their tiny part of the sum.
    """
    ids = never_sampled(tokenizer, model.config.model_type, model.generation_config)
    model.generation_config.suppress_tokens = list(ids) or None
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

"""A logits processor for vLLM: no answer holds an image token.

vLLM knows nothing of `suppress_tokens` in a generation_config.json, which transformers' `generate` heeds, so
the two would sample from different distributions. Given to an engine by name as `logits_processors`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vllm.tokenizers import get_tokenizer
from vllm.v1.sample.logits_processor import LogitsProcessor

from skinflow_plugins.engine.plugin import bases
from skinflow_plugins.models.placeholders import generation_config_of, never_sampled

NAME = f"{__name__}:NoPlaceholders"
"""What `logits_processors` of an engine must hold."""


class NoPlaceholders(LogitsProcessor):
    """Sets the logits of image placeholders and of suppressed tokens to minus infinity, for every request."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        model = vllm_config.model_config
        tokenizer = get_tokenizer(model.tokenizer, trust_remote_code=model.trust_remote_code)
        ids = never_sampled(tokenizer, model.hf_config.model_type, generation_config_of(model.model), bases())
        self.ids = torch.tensor(ids, dtype=torch.long, device=device)

    def apply(self, logits: Tensor) -> Tensor:
        """Logits (requests, vocabulary), in place."""
        return logits.index_fill_(-1, self.ids, -torch.inf)

    def is_argmax_invariant(self) -> bool:
        """No: the most likely token may be one of them."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Nothing: the tokens are the same for every request."""

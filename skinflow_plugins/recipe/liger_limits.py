"""What Liger's GRPO loss, as swift 4.6 calls it, cannot do or would do otherwise than swift's own loss.

swift refuses some of it itself, after the model is loaded; of the rest it says nothing: an argument would be
ignored, or the loss divided by another number of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

OLDEST = "0.7.0"
"""The oldest liger-kernel that swift takes."""
LOSSES = ("grpo", "bnpo", "dr_grpo", "sapo")
"""Loss types whose value and gradient are those of swift's own loss."""

_PARTS = "it reads the output layer whole, of which each process may hold a part"
_WHOLE = ("zero0", "zero1", "zero2", "zero2_offload")
_OFF: Mapping[str, tuple[Any, str]] = {
    "delta": (None, "it has no second clipping bound"),
    "top_entropy_quantile": (1.0, "it knows no entropies"),
    "log_entropy": (False, "it knows no entropies"),
    "off_policy_sequence_mask_delta": (None, "it masks no sequences"),
    "overlong_filter": (False, "swift does not tell it which completions are cut off"),
    "kl_in_reward": (False, "the KL term would count twice"),
    "padding_free": (False, "it takes padded rows only"),
    "packing": (False, "it takes padded rows only"),
    "sequence_parallel_size": (1, "it takes whole sequences only"),
    "advantage_estimator": ("grpo", "swift gives it GRPO's own advantages only"),
    "advantage_reweight": (None, "it has one advantage for a whole completion"),
    "teacher_model": (None, "it has one advantage for a whole completion"),
    "teacher_adapters": (None, "it has one advantage for a whole completion"),
    "teacher_model_server": (None, "it has one advantage for a whole completion"),
    "sdar_loss_coef": (0.0, "it adds no second loss"),
    "multi_turn_scheduler": (None, "it takes one batch at a time"),
    "fsdp": (None, _PARTS),
}
"""swift's arguments -> the value without effect, and why Liger's loss cannot go with any other."""


def limit(given: Mapping[str, Any]) -> str:
    """Why Liger's loss cannot replace swift's own under these arguments of swift; "" where it can."""
    for name, (off, why) in _OFF.items():
        if name in given and given[name] != off:
            return f"swift's {name}: {why}"
    losses = given.get("loss_type") or "grpo"
    for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
        if loss not in LOSSES:
            return f"swift's loss_type: {loss} would come out otherwise"
    level = given.get("importance_sampling_level", "token")
    if level == "sequence_token" or (level == "sequence" and "sapo" in losses):
        return f"swift's importance_sampling_level: it cannot weigh by {level} under this loss"
    if given.get("deepspeed", "zero2") not in _WHOLE:
        return f"swift's deepspeed: {_PARTS}"
    if "lm_head" in str(given.get("target_modules")) or _named(given.get("target_regex")):
        return "it reads the output layer's own weight, and an adapter stands on it"
    return ""


def _named(regex: Any) -> bool:
    """Whether PEFT would find the output layer by this expression."""
    try:
        return isinstance(regex, str) and re.fullmatch(regex, "lm_head") is not None
    except re.error:  # PEFT says so
        return False

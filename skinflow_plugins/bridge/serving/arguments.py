"""What vLLM is told: its command line and its environment."""

from __future__ import annotations

import json
import os

from skinflow_plugins.bridge.serving import memory
from skinflow_plugins.bridge.serving.subject import Order, Subject
from skinflow_plugins.recipe.rollouts import NO_PLACEHOLDERS, media_limits

IMAGES = 4
"""Images that one chat may hold, unless further arguments say otherwise."""


def arguments_of(subject: Subject, model: str, order: Order, port: int) -> list[str]:
    """The command line of vLLM; further arguments replace ours of the same name."""
    ours: dict[str, list[str]] = {
        "--dtype": [subject.dtype],
        # The longest that fits into the cache, where the model's own length does not.
        "--max-model-len": ["auto"],
    }
    if subject.family is not None:
        limits = media_limits(subject.family, images=IMAGES)
        ours["--limit-mm-per-prompt"] = [json.dumps(limits)]
        ours["--chat-template-content-format"] = ["openai"]  # or images are written in front of all text
        ours["--logits-processors"] = [NO_PLACEHOLDERS]
    if memory.on_cpu():
        ours["--enforce-eager"] = []
    kept = [word for flag, words in ours.items() if not order.says(flag) for word in (flag, *words)]
    return [
        *("--model", model, "--served-model-name", order.name or subject.name),
        *("--host", order.host, "--port", str(port), *kept, *order.further),
    ]


def environment_of(order: Order) -> dict[str, str]:
    """The variables of vLLM's process; the key stands here, because everybody can read a command line."""
    found = {**os.environ, "VLLM_NO_USAGE_STATS": "1"}
    if memory.on_cpu():
        found["VLLM_CPU_KVCACHE_SPACE"] = str(memory.cache_space())
    if order.api_key:
        found["VLLM_API_KEY"] = order.api_key
    return found

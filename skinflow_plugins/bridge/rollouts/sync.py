"""Which of a trainer's tensors go to vLLM: those that its forward uses, under the names of a checkpoint."""

from __future__ import annotations

import functools
import re
from typing import Any

_OTHER_ADAPTER = re.compile(r"\.modules_to_save\.(?!default\.)")
"""A copy that another adapter keeps, such as the KL reference's."""


def send_active_copies() -> None:
    """Make swift leave out what other adapters keep of modules_to_save; call it any number of times.

    With a reference adapter beside the trained one PEFT keeps two copies of every router. swift would send
    both, and vLLM knows no parameter of the second's name.
    """
    from swift.rlhf_trainers.rollout_mixin import RolloutTrainerMixin

    mixin: Any = RolloutTrainerMixin
    original = mixin._process_state_dict_for_vllm
    if hasattr(original, "skinflow"):
        return

    @functools.wraps(original)
    def process(self: Any, state_dict: dict[str, Any], *arguments: Any, **keywords: Any) -> Any:
        kept = {name: value for name, value in state_dict.items() if not _OTHER_ADAPTER.search(name)}
        return original(self, kept, *arguments, **keywords)

    process.skinflow = True  # type: ignore[attr-defined]
    mixin._process_state_dict_for_vllm = process

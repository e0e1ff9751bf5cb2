"""transformers' `generate` samples from what swift asks for, and no less.

swift writes "no top_k" as None, and transformers 5 reads None as its default of 50: GRPO would learn from
the fifty most likely tokens while its log-probabilities are over all, and vLLM, which samples from all, would
give other rewards from the same checkpoint.
"""

from __future__ import annotations

import functools
from typing import Any


def sample_as_asked() -> None:
    """Make swift's transformers engine write 0 where top_k is off; call it any number of times."""
    from swift.infer_engine import transformers_engine as engine

    original = engine.prepare_generation_config
    if hasattr(original, "skinflow"):
        return

    @functools.wraps(original)
    def prepare(model_config: Any, request: Any, *arguments: Any, **keywords: Any) -> Any:
        found = original(model_config, request, *arguments, **keywords)
        if found is not None and request is not None and found.do_sample:
            asked = getattr(request, "top_k", None)
            # A checkpoint's own top_k holds where nothing was asked, not where it was asked to be off.
            if found.top_k is None or (asked is not None and asked <= 0):
                found.top_k = 0
        return found

    prepare.skinflow = True  # type: ignore[attr-defined]
    engine.prepare_generation_config = prepare

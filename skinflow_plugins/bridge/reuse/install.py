"""Every GRPO trainer of this process, looked at when it is made: what it need not do twice, and why not."""

from __future__ import annotations

import functools
from typing import Any

from skinflow_plugins.bridge import settings
from skinflow_plugins.bridge.reuse import loading
from skinflow_plugins.bridge.reuse.reuse import Reuse


def reuse_work() -> None:
    """Wrap the making of swift's GRPO trainer; call it any number of times."""
    from swift.rlhf_trainers.grpo_trainer import GRPOTrainer

    loading.use(None)
    original = GRPOTrainer.__init__
    if hasattr(original, "skinflow"):
        return

    @functools.wraps(original)
    def make(self: Any, *arguments: Any, **keywords: Any) -> None:
        original(self, *arguments, **keywords)
        self.skinflow_reuse = Reuse(self, settings.current_speed())

    make.skinflow = True  # type: ignore[attr-defined]
    GRPOTrainer.__init__ = make

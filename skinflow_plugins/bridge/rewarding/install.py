"""Put our desk into swift's GRPO trainer: it sees every gathered batch of rewards before the advantages."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from skinflow_plugins.bridge import settings
from skinflow_plugins.bridge.rewarding.desk import Desk


def watch_rewards() -> None:
    """Wrap the trainer's scoring; call it any number of times."""
    from swift.rlhf_trainers.grpo_trainer import GRPOTrainer

    original = GRPOTrainer._compute_rewards_per_func
    if hasattr(original, "skinflow"):
        return

    @functools.wraps(original)
    def compute(self: Any, samples: Sequence[Any]) -> Any:
        desk = desk_of(self)
        step = desk.set_weights(self)
        return desk.finish(self, samples, original(self, samples), step)

    compute.skinflow = True  # type: ignore[attr-defined]
    GRPOTrainer._compute_rewards_per_func = compute


def desk_of(trainer: Any) -> Desk:
    """The desk of a trainer, made at its first batch."""
    if not hasattr(trainer, "skinflow_desk"):
        trainer.skinflow_desk = Desk(trainer, settings.current())
    desk: Desk = trainer.skinflow_desk
    return desk

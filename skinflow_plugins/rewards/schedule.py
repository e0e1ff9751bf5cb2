"""How the weight of a reward changes over the steps of a stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Schedule:
    """The weight goes to `to` within `steps` steps, once `after` steps are done.

    `linear` goes evenly, `cosine` slowly at both ends, `jump` all at once, when the steps are over. Before,
    the weight is the reward's own; afterwards it stays at `to`.
    """

    to: float
    steps: int
    after: int = 0
    shape: Literal["linear", "cosine", "jump"] = "linear"


def weight_at(weight: float, schedule: Schedule | None, step: int) -> float:
    """The weight that counts in optimizer step `step`, from 1."""
    if schedule is None:
        return weight
    done = min(max(step - 1 - schedule.after, 0) / schedule.steps, 1.0)
    if schedule.shape == "jump":
        done = math.floor(done)
    elif schedule.shape == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return weight + (schedule.to - weight) * done

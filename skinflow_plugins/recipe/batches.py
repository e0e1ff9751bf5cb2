"""How many rows and completions swift's batch arguments amount to, with swift's own defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["sft", "grpo"]

# Unless told otherwise, swift accumulates gradients up to this many rows in SFT (trainers/arguments.py) and
# not at all in GRPO (arguments/rlhf_args.py).
_ROWS_PER_STEP = 16


@dataclass(frozen=True)
class Batches:
    """`across`: rows of one forward pass over all processes; `accumulation`: passes per optimizer step;
    `generated`: completions that are sampled at once; `group`: completions of one prompt; `steps`: optimizer
    steps, None when swift counts by epochs; `reuse`: how often a sampled batch is learnt from.
    """

    across: int
    accumulation: int
    generated: int
    group: int
    steps: int | None
    reuse: int

    @property
    def per_step(self) -> int:
        """Rows of one optimizer step."""
        return self.across * self.accumulation

    @property
    def prompts_per_round(self) -> int:
        """Different prompts that are sampled at once."""
        return max(1, self.generated // self.group)

    @property
    def prompts(self) -> int | None:
        """Prompts over all steps of a GRPO stage."""
        if self.steps is None:
            return None
        return math.ceil(self.steps * self.per_step / (self.generated * self.reuse)) * self.prompts_per_round


def batches(given: Mapping[str, Any], processes: int, kind: Kind = "grpo") -> Batches:
    """What the swift arguments `given` mean; a value of the wrong type counts as absent.

    Raises `ValueError` when a forward pass would hold no row.
    """

    def number(name: str, default: float) -> float:
        value = given.get(name)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else default

    across = int(number("per_device_train_batch_size", 1)) * max(1, processes)
    if across < 1:
        raise ValueError("per_device_train_batch_size must be 1 or more")
    default = math.ceil(_ROWS_PER_STEP / across) if kind == "sft" else 1
    accumulation = int(number("gradient_accumulation_steps", default))
    steps = int(number("max_steps", -1))
    return Batches(
        across,
        accumulation,
        int(number("generation_batch_size", across * number("steps_per_generation", accumulation))),
        int(number("num_generations", 8)),
        steps if steps > 0 else None,
        max(1, int(number("num_iterations", 1))),
    )

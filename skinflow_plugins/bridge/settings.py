"""What our side needs to know inside a swift process, read from the file that `SKINFLOW_STAGE` names.

Reward options must be bound before swift instantiates a reward by its name, and swift has no argument for
them, nor for the routers' learning rate and weight decay; so the plan writes them beside the stage's YAML,
and that YAML's `ENV` block names the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe import tuning
from skinflow_plugins.recipe.plan import STAGE_VARIABLE, Plan, RewardPlan, StagePlan
from skinflow_plugins.recipe.schema import Rollouts, Tuning

REPORT_VARIABLE = "SKINFLOW_PARITY"
"""Names the file for the report of `skinflow doctor --parity`, which wants no training."""


@dataclass(frozen=True)
class StageSettings:
    """The stage's rewards with bound options, what it trains, who samples, and the folder to write to."""

    stage: str
    output_dir: str
    rewards: tuple[RewardPlan, ...]
    tuning: Tuning = field(default_factory=Tuning)
    rollouts: Rollouts = field(default_factory=Rollouts)

    def to_json(self) -> str:
        found = asdict(self)
        if self.rollouts.engine != "vllm":
            del found["rollouts"]
        return json.dumps(found, indent=2, sort_keys=True) + "\n"


def settings_of(plan: Plan, stage: StagePlan) -> StageSettings:
    """What the settings file of a planned stage says."""
    return StageSettings(
        stage.stage.name,
        str(plan.folder(stage)),
        stage.rewards,
        tuning.resolve(plan.recipe, stage.stage),
        plan.recipe.rollouts if stage.stage.kind == "grpo" else Rollouts(),
    )


def from_json(text: str) -> StageSettings:
    """The settings that `StageSettings.to_json` wrote."""
    found: Mapping[str, Any] = json.loads(text)
    rewards = tuple(RewardPlan(**reward) for reward in found["rewards"])
    return StageSettings(
        found["stage"],
        found["output_dir"],
        rewards,
        Tuning(**found.get("tuning", {})),
        Rollouts(**found.get("rollouts", {})),
    )


def current() -> StageSettings | None:
    """The settings of the stage that this process runs, or None when no recipe started it."""
    path = os.environ.get(STAGE_VARIABLE)
    if not path:
        return None
    if not Path(path).is_file():
        raise InputError(
            f"{STAGE_VARIABLE}={path}: there is no such file; write it with `skinflow plan RECIPE -o DIR`, "
            f"or unset {STAGE_VARIABLE} to use rewards without a recipe"
        )
    return from_json(Path(path).read_text())

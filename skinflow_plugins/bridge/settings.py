"""What our side needs to know inside a swift process, read from the file that `SKINFLOW_STAGE` names.

Reward options must be bound before swift instantiates a reward by its name, and swift has no argument for
them, nor for the routers' learning rate and weight decay; so the plan writes them beside the stage's YAML,
and that YAML's `ENV` block names the file.
"""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.options import Option, check_options
from skinflow_plugins.recipe import tuning
from skinflow_plugins.recipe.evaluation import EvaluationPlan, FigurePlan
from skinflow_plugins.recipe.plan import STAGE_VARIABLE, Plan, RewardPlan, StagePlan
from skinflow_plugins.recipe.schema import Rollouts, Speed, Tuning
from skinflow_plugins.rewards.composition import RewardGate
from skinflow_plugins.rewards.schedule import Schedule

OPTIONS_VARIABLE = "SKINFLOW_OPTIONS"
"""Options of rewards and of the evaluation metric where no recipe gives them: JSON, name -> options."""
SPEED = "speed"
"""The name in SKINFLOW_OPTIONS for what a recipe says under `speed:`."""
_OF_SWIFT = {"attention": "--attn_impl", "liger": "--use_liger_kernel"}
"""What of `speed:` the plan writes into swift's arguments."""
DIAGNOSIS_METRIC = "skinflow_diagnosis"
"""Our name among swift's evaluation metrics."""
TAXONOMY_WITHOUT_RECIPE = "fitzpatrick17k"
REPORT_VARIABLE = "SKINFLOW_PARITY"
"""Names the file for the report of `skinflow doctor --parity`, which wants no training."""


@dataclass(frozen=True)
class StageSettings:
    """The stage's rewards with bound options, what it trains, who samples, what is evaluated, and where; the
    limits of the alarms, and which work is not done twice.
    """

    stage: str
    output_dir: str
    rewards: tuple[RewardPlan, ...]
    tuning: Tuning = field(default_factory=Tuning)
    rollouts: Rollouts = field(default_factory=Rollouts)
    evaluation: EvaluationPlan | None = None
    alarms: Mapping[str, Any] = field(default_factory=dict)
    speed: Speed = field(default_factory=Speed)

    def to_json(self) -> str:
        found = asdict(self)
        if self.evaluation is None:
            del found["evaluation"]
        if self.rollouts.engine != "vllm":
            del found["rollouts"]
        if not self.alarms:
            del found["alarms"]
        if self.speed == Speed():
            del found["speed"]
        for reward in found["rewards"]:
            for name in ("gate", "schedule", "deadline"):
                if reward[name] is None:
                    del reward[name]
        return json.dumps(found, indent=2, sort_keys=True) + "\n"


def settings_of(plan: Plan, stage: StagePlan) -> StageSettings:
    """What the settings file of a planned stage says."""
    return StageSettings(
        stage.stage.name,
        str(plan.folder(stage)),
        stage.rewards,
        tuning.resolve(plan.recipe, stage.stage),
        plan.recipe.rollouts if stage.stage.kind == "grpo" else Rollouts(),
        stage.evaluation,
        plan.recipe.alarms,
        plan.recipe.speed if stage.stage.kind == "grpo" else Speed(),
    )


def from_json(text: str) -> StageSettings:
    """The settings that `StageSettings.to_json` wrote."""
    found: Mapping[str, Any] = json.loads(text)
    rewards = tuple(map(_reward, found["rewards"]))
    return StageSettings(
        found["stage"],
        found["output_dir"],
        rewards,
        Tuning(**found.get("tuning", {})),
        Rollouts(**found.get("rollouts", {})),
        _evaluation(found["evaluation"]) if "evaluation" in found else None,
        found.get("alarms", {}),
        Speed(**found.get("speed", {})),
    )


def _reward(found: Mapping[str, Any]) -> RewardPlan:
    gate, schedule = found.get("gate"), found.get("schedule")
    bound = {"gate": RewardGate(**gate)} if gate else {}
    more = {"schedule": Schedule(**schedule)} if schedule else {}
    return RewardPlan(**{**found, **bound, **more})


def _evaluation(found: Mapping[str, Any]) -> EvaluationPlan:
    figures = tuple(FigurePlan(**figure) for figure in found["figures"])
    return EvaluationPlan(**{**found, "figures": figures, "clinical": tuple(found["clinical"])})


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


def from_environment() -> Mapping[str, Any]:
    """What SKINFLOW_OPTIONS says, by name; `InputError` when it is no JSON mapping of names."""
    try:
        given = json.loads(os.environ.get(OPTIONS_VARIABLE, "{}"))
    except json.JSONDecodeError as error:
        raise InputError(f"{OPTIONS_VARIABLE} is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise InputError(
            f'{OPTIONS_VARIABLE} must map rewards to options: {{"format": {{"form": "caption"}}}}'
        )
    return given


def speed_from(given: Any) -> Speed:
    """What SKINFLOW_OPTIONS says under `speed`, over the defaults; `InputError` names every wrong key."""
    if not isinstance(given, Mapping):
        raise InputError(f'{OPTIONS_VARIABLE}: {SPEED} must be a mapping: {{"speed": {{"pixel_cache": 0}}}}')
    hints = typing.get_type_hints(Speed)
    known = [Option(name, hint, getattr(Speed, name)) for name, hint in hints.items()]
    wrong = dict(check_options([each for each in known if each.name not in _OF_SWIFT], given))
    wrong |= {
        name: f"without a recipe this is swift's own argument {own}; leave it out here"
        for name, own in _OF_SWIFT.items()
        if name in given
    }
    if "pixel_cache" not in wrong and (cache := given.get("pixel_cache", 0)) < 0:
        wrong["pixel_cache"] = f"found {cache}, expected 0 (no cache) or more MiB"
    if wrong:
        raise InputError([Problem(text, OPTIONS_VARIABLE, path=f"{SPEED}.{n}") for n, text in wrong.items()])
    return Speed(**given)


def current_speed() -> Speed:
    """`speed` of the stage that this process runs; without a recipe, that of SKINFLOW_OPTIONS."""
    stage = current()
    return stage.speed if stage is not None else speed_from(from_environment().get(SPEED, {}))

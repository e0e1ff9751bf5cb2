"""From a checked recipe to what will run: one ms-swift argument file per stage. Pure; nothing is touched.

What is planned here is what runs: `skinflow run` and a `swift rlhf 2-caption.yaml` typed by hand read the
same files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.recipe import accelerators, swift_arguments, tuning
from skinflow_plugins.recipe.batches import batches
from skinflow_plugins.recipe.defaults import common_arguments, grpo_arguments
from skinflow_plugins.recipe.evaluation import EvaluationPlan, plan_evaluation
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.families import TINY, family_for
from skinflow_plugins.recipe.load import filled_options
from skinflow_plugins.recipe.machine import Machine, this_machine
from skinflow_plugins.recipe.metric_options import taxonomy_source as taxonomy_source
from skinflow_plugins.recipe.notes import notes
from skinflow_plugins.recipe.schema import Recipe, RewardUse, Stage
from skinflow_plugins.rewards.composition import Component, RewardGate
from skinflow_plugins.rewards.schedule import Schedule, weight_at

STAGE_VARIABLE = "SKINFLOW_STAGE"


@dataclass(frozen=True)
class RewardPlan:
    """One reward as swift will know it: `key` is its registered name and its name in the logs.

    `gate` names the other reward by its key; `schedule` changes the weight over the steps of the stage.
    """

    key: str
    reward: str
    stage: str
    weight: float
    options: Mapping[str, Any]
    gate: RewardGate | None = None
    schedule: Schedule | None = None
    deadline: float | None = None

    def component(self, catalogue: Catalogue) -> Component:
        """The reward of the catalogue, bound to all of this."""
        reward = catalogue.get("rewards", self.reward)
        return Component(
            self.key, reward, self.options, self.weight, self.stage, self.gate, self.schedule, self.deadline
        )


@dataclass(frozen=True)
class RowsPlan:
    """Which rows a stage trains on. `count` is None when swift itself walks over the data by epochs.

    `batch` is the number of prompts (GRPO) sampled at once, or of rows (SFT) in an optimizer step.
    """

    count: int | None
    batch: int
    share: float = 0.0


@dataclass(frozen=True)
class StagePlan:
    """One stage: the swift program, its arguments with reasons for those we set, and what our side needs."""

    number: int
    stage: Stage
    command: str
    arguments: Mapping[str, Explained]
    environment: Mapping[str, str]
    rewards: tuple[RewardPlan, ...]
    rows: RowsPlan
    evaluation: EvaluationPlan | None = None

    @property
    def slug(self) -> str:
        return f"{self.number}-{self.stage.name}"

    @property
    def handed_over(self) -> str:
        """The link in the stage's folder to the checkpoint that later stages and answers start from."""
        return "best" if self.stage.evaluate is not None and self.stage.evaluate.use_best else "final"


@dataclass(frozen=True)
class Plan:
    """A whole run below one folder `root`."""

    recipe: Recipe
    family: BaseFamily
    root: PurePath
    plugin: str
    stages: tuple[StagePlan, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def base(self) -> str:
        return base_path(self.recipe, self.root)

    def folder(self, plan: StagePlan) -> PurePath:
        """Where swift writes the stage's checkpoints and logs."""
        return self.root / "stages" / plan.slug


def base_path(recipe: Recipe, root: PurePath) -> str:
    """The folder or hub id that the first stage starts from."""
    if recipe.model.vision.encoder != "base":
        return str(root / "base")
    if recipe.model.base.startswith(TINY):
        return tiny_path(recipe, root)
    base = Path(recipe.model.base).expanduser()
    return str(base.absolute()) if base.is_dir() else recipe.model.base


def tiny_path(recipe: Recipe, root: PurePath) -> str:
    """Where a tiny base is built: beside the model that an encoder makes of it, or in its place."""
    return str(root / ("base" if recipe.model.vision.encoder == "base" else "plain"))


def plan(
    recipe: Recipe, catalogue: Catalogue, *, root: PurePath, plugin: str, machine: Machine | None = None
) -> Plan:
    """What `recipe` means, for a run folder `root` and the path of the external-plugin file `plugin`.

    `machine` is the one that will train, by default this one.
    """
    family = family_for(recipe.model, catalogue)
    machine = this_machine() if machine is None else machine
    planned: list[StagePlan] = []
    for number, stage in enumerate(recipe.stages, start=1):
        planned.append(_stage(recipe, catalogue, family, machine, root, plugin, number, stage, planned))
    return Plan(recipe, family, root, plugin, tuple(planned), notes(recipe, family, machine))


def _stage(
    recipe: Recipe,
    catalogue: Catalogue,
    family: BaseFamily,
    machine: Machine,
    root: PurePath,
    plugin: str,
    number: int,
    stage: Stage,
    before: Sequence[StagePlan],
) -> StagePlan:
    slug = f"{number}-{stage.name}"
    given = swift_arguments.given(recipe, stage)
    rewards = stage_rewards(recipe, catalogue, stage)
    arguments = common_arguments(recipe, family, given) | tuning.arguments(recipe, stage)
    arguments |= _weights(recipe, root, stage, given, before)
    arguments |= {
        "dataset": Explained([str(root / "data" / f"{slug}.jsonl")]),
        "output_dir": Explained(str(root / "stages" / slug)),
        "external_plugins": Explained([plugin]),
    }
    if stage.kind == "grpo":
        arguments |= grpo_arguments(recipe, family, given)
        arguments["reward_funcs"] = Explained([reward.key for reward in rewards])
        moving = any(reward.schedule for reward in rewards)
        why = "at the first step; stages[].rewards[].schedule changes them" if moving else ""
        first = [weight_at(reward.weight, reward.schedule, 1) for reward in rewards]
        arguments["reward_weights"] = Explained(first, why)
    arguments |= accelerators.arguments(recipe, stage, family, machine)
    rows = RowsPlan(*_counts(recipe, stage, given), share=stage.replay.share if stage.replay else 0.0)
    if rows.count is not None or stage.balance or stage.replay:
        why = "the data file is already in training order"
        arguments["dataset_shuffle"] = Explained(False, why)
        arguments["train_dataloader_shuffle"] = Explained(False, why)
    if stage.evaluate is not None and stage.evaluate.best is not None:
        why = "stages[].evaluate.every: the best checkpoint is one of those that are evaluated"
        arguments["save_steps"] = Explained(stage.evaluate.every, why)
    # The user's own values come last and win over our defaults, never over what the plan owns.
    arguments |= {key: _chosen(value, arguments.get(key)) for key, value in given.items()}
    return StagePlan(
        number,
        stage,
        "rlhf" if stage.kind == "grpo" else "sft",
        arguments,
        {STAGE_VARIABLE: str(root / f"{slug}.skinflow.json")},
        rewards,
        rows,
        plan_evaluation(recipe, catalogue, root, slug, stage),
    )


def _chosen(value: Any, ours: Explained | None) -> Explained:
    """The recipe's value; beside it what we would have set, where that says more than the value itself."""
    if ours is None or not ours.why or ours.value == value:
        return Explained(value, ours.why if ours and ours.value == value else "")
    return Explained(value, f"the recipe's choice; without it {ours.value}: {ours.why}")


def _weights(
    recipe: Recipe, root: PurePath, stage: Stage, given: Mapping[str, Any], before: Sequence[StagePlan]
) -> dict[str, Explained]:
    """Where the stage's weights come from: the base, or the last or the best checkpoint of an earlier stage.

    An earlier LoRA stage hands over its adapter; the KL reference is then that adapter too, because without
    it swift would compare with the bare base model.
    """
    base = base_path(recipe, root)
    source = None
    if stage.init != "base" and before:
        source = next((p for p in before if p.stage.name == stage.init), before[-1])
    if source is None:
        return {"model": Explained(base)}
    left = str(root / "stages" / source.slug / source.handed_over)
    if source.arguments["tuner_type"].value == "lora":
        # The adapter belongs to the weights that it was trained on, which need not be the base.
        found = {"model": Explained(source.arguments["model"].value), "adapters": Explained([left])}
        if stage.kind == "grpo" and float(given.get("beta", 0.04)) > 0:
            found["ref_adapters"] = Explained([left], "the KL reference is the stage before, not the base")
        return found
    which = "best checkpoint" if source.handed_over == "best" else "checkpoint"
    return {"model": Explained(left, f"the {which} of stage {source.stage.name}")}


def stage_rewards(recipe: Recipe, catalogue: Catalogue, stage: Stage) -> tuple[RewardPlan, ...]:
    """The stage's own rewards, then those of the stage that it replays, as they were at its end."""
    owners = [stage] + ([recipe.stage(stage.replay.stage)] if stage.replay else [])
    return tuple(
        RewardPlan(
            f"{owner.name}.{use.name}",
            use.name,
            owner.name,
            use.weight if owner is stage or use.schedule is None else use.schedule.to,
            _options(recipe, catalogue, use),
            RewardGate(f"{owner.name}.{use.gate.reward}", use.gate.at_least) if use.gate else None,
            use.schedule if owner is stage else None,
            use.deadline,
        )
        for owner in owners
        for use in owner.rewards
    )


def _options(recipe: Recipe, catalogue: Catalogue, use: RewardUse) -> dict[str, Any]:
    options = filled_options(recipe, catalogue.get("rewards", use.name), use.options)
    if isinstance(options.get("taxonomy"), str):
        options["taxonomy"] = taxonomy_source(catalogue, options["taxonomy"])
    for name in ("taxonomy", "vocabulary"):
        file = options.get(name)
        if isinstance(file, str) and Path(file).suffix and Path(file).expanduser().is_file():
            options[name] = str(Path(file).expanduser().absolute())  # the stage may be run from anywhere
    return options


def _counts(recipe: Recipe, stage: Stage, given: Mapping[str, Any]) -> tuple[int | None, int]:
    """(prompts or rows over the whole stage, and those drawn at once), from swift's own batch arguments."""
    sizes = batches(given, recipe.launch.processes, stage.kind)
    if stage.kind == "sft":
        return (sizes.steps * sizes.per_step if sizes.steps else None), sizes.per_step
    return sizes.prompts, sizes.prompts_per_round

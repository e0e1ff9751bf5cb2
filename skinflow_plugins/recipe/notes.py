"""What the reader of a plan should know before it runs."""

from __future__ import annotations

from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.recipe import accelerators
from skinflow_plugins.recipe.families import TINY
from skinflow_plugins.recipe.machine import Machine
from skinflow_plugins.recipe.schema import Recipe


def notes(recipe: Recipe, family: BaseFamily, machine: Machine) -> tuple[str, ...]:
    """One line for each thing that the arguments alone do not tell."""
    found = accelerators.notes(recipe, family, machine)
    if recipe.model.vision.encoder != "base":
        found.append(
            f"model.vision.encoder: {recipe.model.vision.encoder} changes the model; `run` grafts it first"
        )
    if recipe.model.options and not recipe.model.base.startswith(TINY):
        found.append("model.options belong to tiny models and are not used with this base")
    if recipe.rollouts.engine == "vllm" and recipe.rollouts.mode == "server":
        found.append("start `skinflow rollout` with the same recipe and folder on the GPUs that sample")
    chosen = [s.name for s in recipe.stages if s.evaluate is not None and s.evaluate.use_best]
    if chosen and recipe.eval.split == "validation":
        found.append(
            f"eval.split: validation is where the checkpoint of {', '.join(chosen)} is chosen, so the table "
            "will look better than the model"
        )
    if recipe.launch.processes > 1:
        found.append(f"each stage runs under torchrun with NPROC_PER_NODE={recipe.launch.processes}")
    return tuple(found)

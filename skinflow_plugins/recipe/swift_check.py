"""Whether swift understands what a recipe tells it, and whether the numbers and the training add up."""

from __future__ import annotations

from typing import Any

from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe import accelerators, hand_over, lines, rollouts, swift_arguments, tuning_check
from skinflow_plugins.recipe.batches import batches
from skinflow_plugins.recipe.complaints import Complaints
from skinflow_plugins.recipe.families import family_for
from skinflow_plugins.recipe.schema import Stage
from skinflow_plugins.recipe.swift_arguments import Kind


def check_swift(found: Complaints) -> None:
    """Notes what is wrong under every `swift:` and `tuning:`, and between stages that hand over."""
    recipe = found.recipe
    try:
        swift_arguments.arguments("grpo")
    except ModuleNotFoundError as error:
        found.wrong(("swift",), f"cannot check the arguments of swift: {error}", "pip install ms-swift")
        return
    kinds: list[Kind] = [kind for kind in ("sft", "grpo") if any(s.kind == kind for s in recipe.stages)]
    for mistake in (*hand_over.mistakes(recipe), *_of_the_model(found)):
        found.wrong(*mistake)
    for name, value in recipe.swift.items():
        check_argument(found, ("swift", name), name, value, kinds or ["grpo"])
    for number, stage in enumerate(recipe.stages):
        if stage.kind not in ("sft", "grpo"):
            continue
        for name, value in stage.swift.items():
            check_argument(found, ("stages", number, "swift", name), name, value, [stage.kind])
        _amounts(found, ("stages", number, "swift"), stage)


def _of_the_model(found: Complaints) -> list[tuning_check.Mistake]:
    """What is wrong with the training and the rollouts, as far as it is known which model is meant."""
    try:
        family = family_for(found.recipe.model, found.catalogue)
    except (InputError, ValueError, OSError):  # `base_model` reports it
        family = None
    rooms = (tuning_check, rollouts, accelerators)
    return [mistake for room in rooms for mistake in room.mistakes(found.recipe, family)]


def check_argument(found: Complaints, path: lines.Path, name: str, value: Any, kinds: list[Kind]) -> None:
    """Notes what is wrong with an argument for the stages, among these kinds, whose program knows it."""
    kinds = [kind for kind in kinds if name in swift_arguments.arguments(kind)] or kinds[:1]
    mistakes = (swift_arguments.mistake(name, value, kind) for kind in kinds)
    if first := next(filter(None, mistakes), None):
        found.wrong(path, *first)


def _amounts(found: Complaints, path: lines.Path, stage: Stage) -> None:
    """That a stage ends, and that its groups of completions fill its batches."""
    given = swift_arguments.given(found.recipe, stage)

    def at(name: str) -> lines.Path:
        return ("swift", name) if name in found.recipe.swift and name not in stage.swift else (*path, name)

    def number(name: str, default: float) -> float:
        value = given.get(name, default)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else default

    if not any(name in given for name in ("max_steps", "num_train_epochs")):
        hint = "give it here, or under the recipe's own `swift:`"
        found.wrong((*path, "max_steps"), "is missing; give max_steps or num_train_epochs", hint)
    elif number("max_steps", -1) <= 0 and number("num_train_epochs", 0) <= 0:
        found.wrong(at("max_steps"), "max_steps or num_train_epochs must be above 0")
    if given.get("save_strategy") == "no":
        found.wrong(at("save_strategy"), "found 'no', but the next stage starts from a checkpoint")
    if given.get("save_only_model") is True:
        message = "is true, but an interrupted stage goes on with the optimizer's state"
        found.wrong(at("save_only_model"), message)
    if stage.balance and number("max_steps", -1) <= 0:
        found.wrong(at("max_steps"), "is missing; batches can be balanced over a known number of steps")
    if stage.kind != "grpo" or not found.is_sound(("launch",)):
        return
    try:
        sizes = batches(given, found.recipe.launch.processes)
    except ValueError as error:
        found.wrong(at("per_device_train_batch_size"), str(error))
        return
    batch, group = sizes.generated, sizes.group
    if group < 2:
        message = f"found {group}; a group needs at least 2 completions to compare"
        found.wrong(at("num_generations"), message)
    elif batch < 1 or batch % group:
        message = f"{batch} completions per generation batch cannot be cut into groups of {group}"
        hint = (
            "generation_batch_size, or else per_device_train_batch_size x processes x "
            "gradient_accumulation_steps, must be a multiple of num_generations"
        )
        found.wrong(at("num_generations"), message, hint)

"""Whether each stage can start from the weights that the stage before it leaves."""

from __future__ import annotations

from collections.abc import Iterator

from skinflow_plugins.recipe import swift_arguments
from skinflow_plugins.recipe.schema import Recipe, Stage

TUNERS = ("full", "lora")


def tuner(recipe: Recipe, stage: Stage) -> str:
    """`full` unless the recipe says otherwise."""
    return str(swift_arguments.given(recipe, stage).get("tuner_type", "full"))


def mistakes(recipe: Recipe) -> Iterator[tuple[int, str, str]]:
    """(stage number from 0, what is wrong, what to do) for tuners that cannot be handed over."""
    for number, stage in enumerate(recipe.stages):
        kind = tuner(recipe, stage)
        if kind not in TUNERS:
            yield number, f"found {kind!r}; stages can hand over {' and '.join(TUNERS)} tuning", ""
        source = _source(recipe, number)
        if kind == "full" and source is not None and tuner(recipe, source) == "lora":
            message = f"full tuning cannot start from the adapter of {source.name!r}: swift drops it"
            yield number, message, "use lora here too, or begin with init: base"


def _source(recipe: Recipe, number: int) -> Stage | None:
    """The stage whose weights the stage starts from; None for the base model."""
    stage, before = recipe.stages[number], recipe.stages[:number]
    if stage.init == "base" or not before:
        return None
    return next((other for other in before if other.name == stage.init), before[-1])

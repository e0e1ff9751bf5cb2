"""Whether each stage can start from the weights that the stage before it leaves."""

from __future__ import annotations

from collections.abc import Iterator

from skinflow_plugins.recipe import lines, tuning
from skinflow_plugins.recipe.schema import Recipe, Stage

Mistake = tuple[lines.Path, str, str]
"""(path, what is wrong, what to do)."""

TUNERS = ("full", "lora")
SHAPE_OF_ADAPTERS = (
    *("target_modules", "target_regex", "target_parameters", "modules_to_save"),
    *("freeze_llm", "freeze_vit", "freeze_aligner"),
    *("lora_rank", "lora_alpha", "lora_dropout", "lora_bias", "use_rslora", "use_dora"),
)
"""swift reads these when it makes an adapter; when it goes on with one, the adapter's own config counts."""


def mistakes(recipe: Recipe) -> Iterator[Mistake]:
    """Everything that one stage's training cannot take over from another's."""
    for number, stage in enumerate(recipe.stages):
        kind = str(tuning.effective(recipe, stage)["tuner_type"])
        place = tuning.where(recipe, number, "tuner_type", "tuner")
        if kind not in TUNERS:
            yield place, f"found {kind!r}; stages can hand over {' and '.join(TUNERS)} tuning", ""
        source = _source(recipe, number)
        if source is None or tuning.effective(recipe, source)["tuner_type"] != "lora":
            continue
        if kind == "full":
            message = f"full tuning cannot start from the adapter of {source.name!r}: swift drops it"
            hint = f"use {_tuner(recipe, source)} tuning here too, or begin with init: base"
            yield place, message, hint
        elif kind == "lora":
            yield from _other_adapter(recipe, number, source)


def _other_adapter(recipe: Recipe, number: int, source: Stage) -> Iterator[Mistake]:
    """What a stage asks of an adapter that the one which it goes on with does not have."""
    stage = recipe.stages[number]
    why = "swift goes on with that adapter as it is, and would train the same as before"
    ours, theirs = _tuner(recipe, stage), _tuner(recipe, source)
    if ours != theirs:
        message = (
            f"{ours} tuning cannot go on from the adapter of {source.name!r}, which is of {theirs} tuning: "
        )
        hint = f"use tuner: {theirs} here too, or begin with init: base"
        yield tuning.where(recipe, number, "tuner_type", "tuner"), message + why, hint
        return
    ours, theirs = (str(tuning.resolve(recipe, each).encoder) for each in (stage, source))
    if ours != theirs:
        message = (
            f"found encoder: {ours}, but the adapter of {source.name!r} was made with encoder: {theirs}; "
        )
        hint = f"use encoder: {theirs} here too, or begin with init: base"
        yield tuning.where(recipe, number, "freeze_vit", "encoder"), message + why, hint
        return
    here, before = tuning.effective(recipe, stage), tuning.effective(recipe, source)
    for name in SHAPE_OF_ADAPTERS:
        if here.get(name) != before.get(name):
            found = f"found {here[name]!r}" if name in here else f"{name!r} is not given"
            was = repr(before[name]) if name in before else "swift's default"
            message = f"{found}, but the adapter of {source.name!r} was made with {was}; {why}"
            path = tuning.where(recipe, number, name, "tuner")
            yield path, message, f"give both stages the same {name}, or begin with init: base"


def _tuner(recipe: Recipe, stage: Stage) -> str:
    """`routers` or `lora`, of a stage that leaves an adapter."""
    return "routers" if tuning.resolve(recipe, stage).tuner == "routers" else "lora"


def _source(recipe: Recipe, number: int) -> Stage | None:
    """The stage whose weights the stage starts from; None for the base model."""
    stage, before = recipe.stages[number], recipe.stages[:number]
    if stage.init == "base" or not before:
        return None
    return next((other for other in before if other.name == stage.init), before[-1])

"""What is trained, from the recipe's `tuning:` block to the swift arguments that say so, with reasons.

A recipe's `swift:` block wins over all of them; `tuning_check` holds it to what a dynamic encoder needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from skinflow_plugins.models.seam import ROUTER
from skinflow_plugins.recipe import lines, swift_arguments
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.schema import Recipe, Stage, Tuning

ROUTER_PARAMETERS = r"\.dve_router\."
OPTIMIZER = "skinflow"
"""Our optimizer's name among swift's; it alone knows the routers' learning rate and weight decay."""

_TOWER_FROZEN = "tuning.encoder: frozen"
_FULL: Mapping[str, Explained] = {
    "tuner_type": Explained("full", "swift's default is LoRA, which leaves the vision tower untrained"),
    "freeze_vit": Explained(False, "swift's default freezes the vision tower even under full tuning"),
    "freeze_aligner": Explained(False, "as above, for the projector between tower and language model"),
    "freeze_llm": Explained(False),
}
_LORA: Mapping[str, Explained] = {
    "tuner_type": Explained("lora", "tuning.tuner: lora; swift puts it on every plain linear that follows"),
    "freeze_vit": Explained(True, _TOWER_FROZEN),
    "freeze_aligner": Explained(True, "the projector counts as part of the encoder"),
    "freeze_llm": Explained(False),
}
_ARGUMENTS: Mapping[tuple[str, str], Mapping[str, Explained]] = MappingProxyType(
    {
        ("full", "trained"): _FULL,
        ("full", "frozen"): {**_FULL, "freeze_vit": Explained(True, _TOWER_FROZEN)},
        ("lora", "frozen"): _LORA,
        ("lora", "trained"): {
            **_LORA,
            "freeze_vit": Explained(False, "tuning.encoder: trained; swift's default leaves the tower out"),
            "freeze_aligner": Explained(False, "as above, for the projector behind the tower"),
        },
        ("routers", "frozen"): {
            "tuner_type": Explained(
                "lora", "without any LoRA, see target_regex: needs no second model as reference"
            ),
            "target_regex": Explained("dummy-target-modules", "PEFT's own word for no adapter at all"),
            "freeze_vit": Explained(True, _TOWER_FROZEN),
            "freeze_aligner": Explained(True, "tuning.tuner: routers"),
            "freeze_llm": Explained(True, "tuning.tuner: routers"),
        },
        ("routers", "trained"): {
            "tuner_type": Explained("full", "tuning.encoder: trained; the whole tower with its routers"),
            "freeze_vit": Explained(False, "swift's default freezes the vision tower even under full tuning"),
            "freeze_aligner": Explained(True, "tuning.tuner: routers; nothing behind the tower is trained"),
            "freeze_llm": Explained(True, "tuning.tuner: routers"),
            "freeze_parameters": Explained(["lm_head"], "swift counts Idefics 3's to no part"),
        },
    }
)
"""(tuner, encoder) -> swift arguments, for any encoder; what routers need comes on top."""


def resolve(recipe: Recipe, stage: Stage) -> Tuning:
    """What holds for a stage: its own block over the recipe's, with `tuner` and `encoder` filled in."""
    given = {
        each.name: getattr(recipe.tuning, each.name) if own is None else own
        for each in fields(Tuning)
        for own in [getattr(stage.tuning, each.name)]
    }
    given["tuner"] = given["tuner"] or "full"
    # Who writes `tuner: routers` and no more means the routers alone.
    given["encoder"] = given["encoder"] or ("frozen" if given["tuner"] == "routers" else "trained")
    return Tuning(**given)


def has_own_groups(tuning: Tuning) -> bool:
    """Whether the routers are to be optimized otherwise than everything else."""
    return tuning.router_learning_rate is not None or tuning.router_weight_decay is not None


def arguments(recipe: Recipe, stage: Stage) -> dict[str, Explained]:
    """What swift is told about training for a stage, before the recipe's own `swift:` arguments."""
    tuning = resolve(recipe, stage)
    found = dict(_ARGUMENTS[str(tuning.tuner), str(tuning.encoder)])
    if recipe.model.vision.dynamic:
        if found["tuner_type"].value == "lora":
            why = "the routers are trained whole and saved with the adapter; frozen otherwise, without a word"
            found["modules_to_save"] = Explained([ROUTER], why)
        elif found["freeze_vit"].value:
            why = "the routers learn although the tower is frozen"
            found["trainable_parameters_regex"] = Explained(ROUTER_PARAMETERS, why)
    if has_own_groups(tuning):
        why = "gives the routers their own learning rate and weight decay; AdamW otherwise as ever"
        found["optimizer"] = Explained(OPTIMIZER, why)
    return found


def effective(recipe: Recipe, stage: Stage) -> dict[str, Any]:
    """The same with the recipe's own `swift:` arguments, as the plan will have them."""
    ours = {name: argument.value for name, argument in arguments(recipe, stage).items()}
    return ours | swift_arguments.given(recipe, stage)


def where(recipe: Recipe, number: int, argument: str, key: str) -> lines.Path:
    """Where a reader finds what decided on a stage's swift argument, or on the key of `tuning:` behind it."""
    stage = recipe.stages[number]
    if argument in stage.swift:
        return ("stages", number, "swift", argument)
    if getattr(stage.tuning, key) is not None and argument not in recipe.swift:
        return ("stages", number, "tuning", key)
    if argument in recipe.swift:
        return ("swift", argument)
    return ("tuning", key) if getattr(recipe.tuning, key) is not None else ("stages", number)

"""Whether what a recipe says about training can be meant: routers that would stay frozen, options for nobody.

swift and PEFT take a name that matches nothing for an answer; a router that is left out is frozen, or lost on
the way to the rollouts, without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.models.seam import ROUTER
from skinflow_plugins.recipe import lines, tuning
from skinflow_plugins.recipe.dynamic_paths import projection_paths, router_parameters
from skinflow_plugins.recipe.schema import Recipe, Tuning

Mistake = tuple[lines.Path, str, str]
"""(path, what is wrong, what to do)."""

OTHER_OPTIMIZERS = ("optimizer", "vit_lr", "aligner_lr", "lorap_lr_ratio", "use_galore")
"""swift arguments that choose an optimizer of their own, or mean something to another than ours."""

_FROZEN = "tuning: {encoder: frozen}"
_LAYERS = "model.vision.layers are dynamic"


def mistakes(recipe: Recipe, family: BaseFamily | None) -> Iterator[Mistake]:
    """Everything wrong with `tuning:` and with the swift arguments that concern routers.

    `family` is that of the base model; None where it is not known: paths of projections are then not judged.
    """
    yield from _amounts(recipe.tuning, ("tuning",))
    for number, stage in enumerate(recipe.stages):
        yield from _amounts(stage.tuning, ("stages", number, "tuning"))
        given = tuning.effective(recipe, stage)
        if recipe.model.vision.dynamic:
            yield from _routers_train(recipe, number, given)
            if family is not None:
                yield from _targets(recipe, number, given, family)
        else:
            yield from _no_routers(recipe, number)
        if tuning.has_own_groups(tuning.resolve(recipe, stage)):
            yield from _one_optimizer(recipe, number, given)
    if recipe.model.vision.dynamic:
        yield from _rollouts(recipe)


def _amounts(block: Tuning, here: lines.Path) -> Iterator[Mistake]:
    rate, decay = block.router_learning_rate, block.router_weight_decay
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        hint = "leave it out to give the routers the learning rate of everything else"
        yield (*here, "router_learning_rate"), f"found {rate}, expected a number above 0", hint
    if decay is not None and not (math.isfinite(decay) and decay >= 0):
        yield (*here, "router_weight_decay"), f"found {decay}, expected a number from 0 on", ""


def _no_routers(recipe: Recipe, number: int) -> Iterator[Mistake]:
    """What a recipe without the dynamic encoder says about routers."""
    chosen = tuning.resolve(recipe, recipe.stages[number])
    encoder = f"model.vision.encoder is {recipe.model.vision.encoder!r}"
    if (chosen.tuner, chosen.encoder) == ("routers", "frozen"):
        yield (
            _key(recipe, number, "tuner"),
            f"nothing would be trained: {encoder}, which has no routers",
            "write model.vision.encoder: dve; or tuning.encoder: trained, for the whole vision encoder; or "
            "tuning.tuner: lora or full, for the language model",
        )
    for key in ("router_learning_rate", "router_weight_decay"):
        if getattr(chosen, key) is not None:
            message = f"there are no routers: {encoder}"
            yield _key(recipe, number, key), message, "leave it out, or write model.vision.encoder: dve"


def _one_optimizer(recipe: Recipe, number: int, given: Mapping[str, Any]) -> Iterator[Mistake]:
    ours = "tuning.router_learning_rate and tuning.router_weight_decay"
    for name in OTHER_OPTIMIZERS:
        value = given.get(name)
        if value not in (None, False) and (name, value) != ("optimizer", tuning.OPTIMIZER):
            message = f"found {name}: {value}, under which {ours} would have no effect"
            hint = f"leave out {name}, or leave out {ours}"
            yield tuning.where(recipe, number, name, "tuner"), message, hint


def _routers_train(recipe: Recipe, number: int, given: Mapping[str, Any]) -> Iterator[Mistake]:
    """That the arguments, as swift gets them, leave no router frozen."""
    expression = given.get("trainable_parameters_regex")
    matches = False
    if expression is not None:
        here = tuning.where(recipe, number, "trainable_parameters_regex", "encoder")
        try:
            matches = any(re.search(str(expression), name) for name in router_parameters())
        except re.error as error:
            yield here, f"found {expression!r}, which is no regular expression: {error}", ""
            return
        if not matches and "router" in str(expression):
            message = f"found {expression!r}, which matches no router: they are called {ROUTER!r}"
            hint = f"leave it out and write {_FROZEN}, or write '{tuning.ROUTER_PARAMETERS}'"
            yield here, message, hint
            return
    if given["tuner_type"] == "lora":
        yield from _routers_are_saved(recipe, number, given)
        return
    matches = matches or bool(_texts(given.get("trainable_parameters")))
    if given["tuner_type"] == "full" and given.get("freeze_vit") is True and not matches:
        message = "a frozen tower would freeze the routers of the dynamic encoder with it, silently"
        hint = f"leave it out and write {_FROZEN}, which keeps them trained"
        yield tuning.where(recipe, number, "freeze_vit", "encoder"), message, hint


def _routers_are_saved(recipe: Recipe, number: int, given: Mapping[str, Any]) -> Iterator[Mistake]:
    """That PEFT is told to train the routers whole."""
    name = "modules_to_save"
    saved = _texts(given.get(name))
    if name not in given:
        message = "LoRA alone would freeze the routers of the dynamic encoder, silently"
        hint = "leave it out and write tuning: {tuner: lora}, which keeps them trained"
        yield tuning.where(recipe, number, "tuner_type", "tuner"), message, hint
    elif ROUTER not in saved:
        right = ", ".join([*(each for each in saved if "router" not in each), ROUTER])
        message = f"found {given[name]!r}, without {ROUTER!r}: the routers would be frozen, silently"
        hint = f"write {name}: [{right}]; PEFT compares endings of names and knows no patterns"
        yield tuning.where(recipe, number, name, "tuner"), message, hint


def _targets(recipe: Recipe, number: int, given: Mapping[str, Any], family: BaseFamily) -> Iterator[Mistake]:
    """That LoRA is put on no dynamic projection: merging it would change the function.

    `freeze_vit` does not help here: swift looks at it only where it expands `all-linear` itself, and hands
    any other list to PEFT, which compares endings of names all over the model.
    """
    if given["tuner_type"] != "lora":
        return
    why = "LoRA on a dynamic projection computes another function once it is merged or handed to the rollouts"
    paths = projection_paths(recipe.model.vision, family)
    expression = given.get("target_regex")
    if expression:
        try:
            hit = next((path for path in paths if re.fullmatch(str(expression), path)), None)
        except re.error as error:
            message = f"found {expression!r}, which is no regular expression: {error}"
            yield tuning.where(recipe, number, "target_regex", "tuner"), message, ""
            return
        if hit is not None:
            hint = f"let it match linears of the language model only, or say with numbers which {_LAYERS}"
            message = f"it matches {hit}: {why}"
            yield tuning.where(recipe, number, "target_regex", "tuner"), message, hint
        return  # swift then ignores target_modules
    names = _texts(given.get("target_modules"))
    if "all-linear" in names:
        return  # swift lists the linears itself, and a dynamic projection is none to it
    for name in names:
        hit = next((path for path in paths if path == name or path.endswith(f".{name}")), None)
        if hit is not None:
            message = f"{name!r} is also the ending of {hit}: {why}"
            hint = (
                "leave target_modules out (swift's all-linear goes around them), or write a target_regex for "
                f"the language model; where a whole path is meant, say with numbers which {_LAYERS}"
            )
            yield tuning.where(recipe, number, "target_modules", "tuner"), message, hint


def _rollouts(recipe: Recipe) -> Iterator[Mistake]:
    name = "vllm_enable_lora"
    blocks: list[tuple[lines.Path, Mapping[str, Any]]] = [
        (("rollouts", "options"), recipe.rollouts.options),
        (("swift",), recipe.swift),
        *((("stages", number, "swift"), stage.swift) for number, stage in enumerate(recipe.stages)),
    ]
    for path, options in blocks:
        if options.get(name) is True:
            message = "found true: swift would send vLLM the LoRA part alone, which knows nothing of routers"
            yield (*path, name), message, "leave it out; vLLM then gets the merged weights, with the routers"


def _key(recipe: Recipe, number: int, key: str) -> lines.Path:
    """Where a key of `tuning:` is written that holds for a stage."""
    own = getattr(recipe.stages[number].tuning, key) is not None
    return ("stages", number, "tuning", key) if own else ("tuning", key)


def _texts(value: Any) -> list[str]:
    """A list argument as swift's command line takes it: one text counts as a list of one."""
    found = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [str(item) for item in found]

"""The part of `skinflow doctor` about rollouts: does vLLM sample from the very model that trains?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.doctor import Finding
from skinflow_plugins.errors import InputError, SkinflowError

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.recipe.schema import Recipe


def findings(recipe: Recipe, known: Catalogue) -> Iterator[Finding]:
    """What trainer and engine make of a handful of rows, from the base model; nothing of it is kept."""
    stage = next((each for each in recipe.stages if each.kind == "grpo"), None)
    if recipe.rollouts.engine != "vllm" or stage is None:
        message = "parity: the recipe has no stage that samples with vLLM, so there is nothing to compare"
        yield Finding("problem", message, "add rollouts.engine=vllm to a recipe with a grpo stage")
        return
    from skinflow_plugins.bridge.prepare import source_records
    from skinflow_plugins.bridge.rollouts.look import look
    from skinflow_plugins.cli.quiet import hush

    with tempfile.TemporaryDirectory(prefix="skinflow-parity-") as name:
        root = Path(name)
        hush(root)
        try:
            found = look(recipe, known, stage, source_records(recipe, known, root), root, lambda _: None)
        except SkinflowError as error:
            problems = error.problems if isinstance(error, InputError) else (error,)
            for problem in problems:
                yield Finding("problem", f"parity: {problem}".replace("\n    ", "\n         "))
            return
    yield Finding("ok", f"parity: stage {stage.name} from the base model; {found.summary()}")
    if why := found.inconclusive():
        yield Finding(
            "warning", f"parity: {why}", "stale weights would not be seen; watch rollout_correction/kl"
        )
    for text in found.problems():
        yield Finding("problem", f"parity: {text}")

"""`skinflow validate`: every mistake in a recipe at once, or one line that says what it is."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import add_recipe, read

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.recipe.load import Loaded

DESCRIPTION = """\
Looks at names, options, types, arguments of swift, and the beginning of the data. Writes nothing and loads
no model."""


def add(verbs: Verbs) -> None:
    """Add `validate` to the verbs."""
    add_recipe(add_verb(verbs, "validate", "find every mistake in a recipe", do, DESCRIPTION))


def do(arguments: argparse.Namespace) -> int:
    """Print one line about a right recipe."""
    print(valid(*read(arguments)))
    return 0


def valid(loaded: Loaded, known: Catalogue) -> str:
    """One line about a recipe without mistakes: its stages, base, rewards and rows."""
    from skinflow_plugins.recipe.families import family_for

    recipe = loaded.recipe
    family = family_for(recipe.model, known)
    rewards = dict.fromkeys(use.name for stage in recipe.stages for use in stage.rewards)
    parts = [
        "stages " + ", ".join(f"{stage.name} ({stage.kind})" for stage in recipe.stages),
        f"base {recipe.model.base} ({family.name})",
        "rewards " + (", ".join(rewards) or "none"),
        _rows(loaded, known),
    ]
    return f"ok: {recipe.name}: " + "; ".join(parts)


def _rows(loaded: Loaded, known: Catalogue) -> str:
    """What the data source says of its size without reading everything."""
    from skinflow_plugins.recipe.load import filled_options

    data = loaded.recipe.data
    source = known.get("datasets", data.source)
    head = source.head and source.head(filled_options(loaded.recipe, source, data.options))
    if not head or not head.counts:
        return f"rows of {data.source}: not counted (`skinflow data check` counts them)"
    return f"rows of {data.source}: " + ", ".join(f"{count} {split}" for split, count in head.counts.items())

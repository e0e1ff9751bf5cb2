"""What all verbs on recipes share: their arguments, and a recipe that is read and checked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.cli.parser import Parser
    from skinflow_plugins.recipe.load import Loaded
    from skinflow_plugins.recipe.schema import Recipe

RUNS = Path("runs")


def add_recipe(parser: Parser) -> None:
    """The arguments RECIPE and KEY=VALUE."""
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a name (see `skinflow list recipes`) or a YAML file"
    )
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        help="changes to the recipe, such as model.base=Qwen/Qwen2.5-VL-7B-Instruct or "
        "stages.caption.swift.max_steps=10",
    )


def read(arguments: argparse.Namespace) -> tuple[Loaded, Catalogue]:
    """The recipe that the arguments name, without any mistake; an `InputError` with all of them otherwise."""
    return read_recipe(arguments.recipe, arguments.overrides)


def read_recipe(name: str, overrides: Sequence[str] = ()) -> tuple[Loaded, Catalogue]:
    """The same for a recipe's name or file."""
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.recipe.check import checked
    from skinflow_plugins.recipe.load import load

    known = catalogue()
    loaded = load(name, overrides, recipe_dirs=recipe_dirs(known))
    checked(loaded, known)
    return loaded, known


def recipe_dirs(known: Catalogue) -> list[Path]:
    """The folders of recipes that plug-ins bring."""
    return [entry.value for entry in known.table("recipe_dirs").values()]


def default_folder(recipe: Recipe) -> Path:
    """Where a run goes when no folder is given."""
    return RUNS / recipe.name


def base_of(recipe: Recipe) -> str:
    """The base model in a few words."""
    from skinflow_plugins.recipe.families import TINY

    base = recipe.model.base
    return f"{base}, built here at random" if base.startswith(TINY) else base

"""`skinflow plan`: what a run would do, as text; or the folder from which swift does it by hand."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import add_recipe, default_folder, read

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.recipe.load import Loaded

DESCRIPTION = """\
Without -o the plan is printed and nothing is touched. With -o the folder gets everything that swift needs:
data, base model, and one YAML file per stage, which `swift` runs from any working directory."""


def add(verbs: Verbs) -> None:
    """Add `plan` to the verbs."""
    parser = add_verb(
        verbs, "plan", "show what a recipe would run, or write it to run by hand", do, DESCRIPTION
    )
    add_recipe(parser)
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="write the plan into this folder")


def do(arguments: argparse.Namespace) -> int:
    """Print the plan, or write it."""
    loaded, known = read(arguments)
    if arguments.output is None:
        from skinflow_plugins.bridge.entry_path import plugin_path
        from skinflow_plugins.bridge.swift_yaml import whole_plan
        from skinflow_plugins.recipe.plan import plan

        root = default_folder(loaded.recipe).absolute()
        print(whole_plan(plan(loaded.recipe, known, root=root, plugin=plugin_path())), end="")
    else:
        print("\n".join(write(loaded, known, arguments.output)))
    return 0


def write(loaded: Loaded, known: Catalogue, root: Path) -> list[str]:
    """Write a run folder with nothing trained in it; the lines that say what to do with it."""
    from skinflow_plugins.bridge.run import prepare_run
    from skinflow_plugins.bridge.workspace import open_workspace
    from skinflow_plugins.cli.quiet import hush

    hush(root)
    root = root.absolute()
    with open_workspace(root, loaded.mapping):
        planned, _ = prepare_run(loaded, known, root)
    commands = [
        f"swift {stage.command} {shlex.quote(str(root / stage.slug) + '.yaml')}" for stage in planned.stages
    ]
    notes = [f"note: {note}" for note in planned.notes]
    return [f"wrote {root}; run its stages in this order:", "", *commands, "", *notes]

"""`skinflow run`: train every stage of a recipe, score each, and show what was reached."""

from __future__ import annotations

import argparse
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import add_recipe, default_folder, read
from skinflow_plugins.errors import WorkFailed

if TYPE_CHECKING:
    from skinflow_plugins.bridge.results import Row
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.recipe.load import Loaded

DESCRIPTION = """\
Everything is written below one folder: plan, data, checkpoints, rewards.jsonl, predictions and results. The
same command goes on where an interrupted run stopped; finished stages are not repeated. A folder that holds
another recipe's run is left alone."""


def add(verbs: Verbs) -> None:
    """Add `run` to the verbs."""
    parser = add_verb(verbs, "run", "run a recipe, or go on with an interrupted run", do, DESCRIPTION)
    add_recipe(parser)
    add_output(parser, "runs/NAME, with the recipe's name")
    add_verbose(parser)


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """The option `-o DIR`."""
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help=f"the run folder (default: {default})"
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """The option `--verbose`."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="let swift and transformers say all they have to say"
    )


def do(arguments: argparse.Namespace) -> int:
    """Run the recipe and show its table."""
    loaded, known = read(arguments)
    root: Path = arguments.output or default_folder(loaded.recipe)
    rows = train(loaded, known, root, verbose=arguments.verbose)
    from skinflow_plugins.cli import table

    table.show_results(loaded.recipe, rows)
    print()
    print("\n".join(contents(root)))
    return 0


def train(loaded: Loaded, known: Catalogue, root: Path, *, verbose: bool) -> list[Row]:
    """Run a checked recipe with its progress shown; the rows of its result table."""
    if not verbose:
        from skinflow_plugins.cli.quiet import hush

        hush(root)
    from skinflow_plugins.bridge.run import run

    print(f"recipe {loaded.recipe.name}, run folder {root}", flush=True)
    try:
        return run(loaded, known, root, say)
    except WorkFailed as failure:
        if failure.__cause__ is None:
            raise
        if verbose:
            traceback.print_exception(failure.__cause__)
            raise
        raise WorkFailed(f"{failure}\n    `--verbose` shows where in the code") from failure.__cause__


def say(text: str) -> None:
    """Print one line of progress at once, whatever stdout is."""
    print(f"==> {text}", flush=True)


def contents(root: Path) -> list[str]:
    """What a run folder holds, in three lines."""
    best = ", and best beside it where a stage chose one" if any(root.glob("stages/*/best")) else ""
    return [
        f"{root}/results.md and results.json: the table above; predictions/ the answers behind it",
        f"{root}/plan.txt and *.yaml: what ran (`swift rlhf FILE` repeats a stage); data/ what it saw",
        f"{root}/stages/*/final: the checkpoints{best}; rewards.jsonl beside them, with every completion",
    ]

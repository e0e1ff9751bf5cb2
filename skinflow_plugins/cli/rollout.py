"""`skinflow rollout`: the vLLM server that samples for `skinflow run` in server mode."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import add_recipe, default_folder, read
from skinflow_plugins.cli.run import add_output

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs

DESCRIPTION = """\
For recipes with `rollouts: {engine: vllm, mode: server}`. Give it the GPUs that sample (CUDA_VISIBLE_DEVICES)
and `skinflow run`, with the same recipe and folder, those that train. The trainer sends its weights before
each round of samples, so the server lasts for all stages; it runs until Ctrl-C."""


def add(verbs: Verbs) -> None:
    """Add `rollout` to the verbs."""
    summary = "serve a recipe's model to the `skinflow run` that trains it"
    parser = add_verb(verbs, "rollout", summary, do, DESCRIPTION)
    add_recipe(parser)
    add_output(parser, "runs/NAME, with the recipe's name")


def do(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    loaded, known = read(arguments)
    from skinflow_plugins.bridge.rollouts.start import serve
    from skinflow_plugins.recipe.rollouts import address

    root: Path = arguments.output or default_folder(loaded.recipe)
    host, port = address(loaded.recipe.rollouts.options)
    print(f"rollout server of {loaded.recipe.name} at http://{host}:{port}, run folder {root}", flush=True)
    serve(loaded, known, root)
    return 0

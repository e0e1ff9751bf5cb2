"""The rollout server of a recipe: `swift rollout` with the recipe's model and engine, in the foreground."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from skinflow_plugins.bridge.processes import PARENT_VARIABLE
from skinflow_plugins.bridge.run import PATIENCE, prepare_run
from skinflow_plugins.bridge.swift_yaml import argv_of
from skinflow_plugins.bridge.workspace import open_workspace
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.recipe import rollouts
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.load import Loaded
from skinflow_plugins.recipe.plan import Plan

OF_THE_MODEL = (
    *("model_type", "template", "system", "use_chat_template", "max_length", "max_pixels", "use_hf"),
    *("torch_dtype", "model_revision", "rope_scaling", "external_plugins"),
)
"""What the trainer is told about the model, the server must be told as well."""
_PATIENCE = 15.0


def serve(loaded: Loaded, catalogue: Catalogue, root: Path) -> None:
    """Prepare the run folder as `run` does, then serve the recipe's model to its trainer until stopped.

    The trainer sends its own weights before it asks for the first completion, so one server lasts for all
    stages. Raises `InputError` when the recipe has no use for a server, `WorkFailed` when it ends by itself.
    """
    recipe = loaded.recipe
    if recipe.rollouts.engine != "vllm" or recipe.rollouts.mode != "server":
        message = f"the recipe samples with {recipe.rollouts.engine}, {recipe.rollouts.mode}"
        hint = "add rollouts.engine=vllm rollouts.mode=server, here and to `skinflow run`"
        raise InputError(Problem(message, path="rollouts", hint=hint))
    root = root.absolute()
    with open_workspace(root, loaded.mapping, PATIENCE):
        planned, _ = prepare_run(loaded, catalogue, root)
    _foreground(["rollout", *server_argv(planned)])


def server_argv(planned: Plan) -> list[str]:
    """The arguments of `swift rollout` for a plan whose rollouts come from a server."""
    stage = next(each for each in planned.stages if each.stage.kind == "grpo")
    arguments: dict[str, Explained] = {"model": Explained(planned.base)}
    arguments |= {name: stage.arguments[name] for name in OF_THE_MODEL if name in stage.arguments}
    return argv_of(arguments | rollouts.server_arguments(planned.recipe, planned.family))


def _foreground(argv: Sequence[str]) -> None:
    """Run `swift ARGV` as a session of its own, which ends with us, whoever ends us."""
    child = subprocess.Popen(
        [sys.executable, "-m", "swift.cli.main", *argv],
        env={**os.environ, PARENT_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = child.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        _end(child)
    raise WorkFailed(f"the rollout server ended with exit code {code}; its own message stands above")


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            continue

"""The rollout server of a recipe: `swift rollout` with the recipe's model and engine, in the foreground."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from skinflow_plugins.bridge import child
from skinflow_plugins.bridge.entry_path import plugin_path
from skinflow_plugins.bridge.rollouts.reach import require_vllm
from skinflow_plugins.bridge.run import PATIENCE, prepare_run
from skinflow_plugins.bridge.swift_yaml import argv_of
from skinflow_plugins.bridge.workspace import Occupied, is_prepared, open_workspace
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.recipe import rollouts
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.load import Loaded
from skinflow_plugins.recipe.plan import Plan, plan

OF_THE_MODEL = (
    *("model_type", "template", "system", "use_chat_template", "max_length", "max_pixels", "use_hf"),
    *("torch_dtype", "model_revision", "rope_scaling", "external_plugins", "response_prefix"),
    *("enable_thinking", "template_backend", "truncation_strategy"),
)
"""What the trainer is told about the model, the server must be told as well."""


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
    if not any(stage.kind == "grpo" for stage in recipe.stages):
        raise InputError(Problem("no stage of the recipe samples: there is no grpo stage", path="stages"))
    require_vllm()
    root = root.absolute()
    planned = _prepared(loaded, catalogue, root)
    _wait_for_port(*rollouts.address(recipe.rollouts.options))
    _foreground(["rollout", *server_argv(planned)])


def _prepared(loaded: Loaded, catalogue: Catalogue, root: Path) -> Plan:
    """The plan, once the folder holds the base model: made here, or by a `run` that waits for us."""
    until = time.monotonic() + PATIENCE
    while not is_prepared(root, loaded.mapping):
        try:
            with open_workspace(root, loaded.mapping):
                return prepare_run(loaded, catalogue, root)[0]
        except Occupied:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
    return plan(loaded.recipe, catalogue, root=root, plugin=plugin_path())


def _wait_for_port(host: str, port: int) -> None:
    """Return when the port is free; swift would take the next one without a word, where no trainer looks.

    A server that was killed keeps its port for up to a minute. Raises `InputError` when another keeps it.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.socket() as found:
                found.bind((host, port))
            return
        except OSError as error:
            if time.monotonic() > until:
                hint = "end the program that listens there, or give rollouts.options.vllm_server_port another"
                message = f"port {port} of {host} cannot be had: {error.strerror}"
                raise InputError(Problem(message, path="rollouts.options", hint=hint)) from error
            time.sleep(1)


def server_argv(planned: Plan) -> list[str]:
    """The arguments of `swift rollout` for a plan whose rollouts come from a server."""
    stage = next(each for each in planned.stages if each.stage.kind == "grpo")
    arguments: dict[str, Explained] = {"model": Explained(planned.base)}
    arguments |= {name: stage.arguments[name] for name in OF_THE_MODEL if name in stage.arguments}
    return argv_of(arguments | rollouts.server_arguments(planned.recipe, planned.family))


def _foreground(argv: Sequence[str]) -> None:
    """Run `swift ARGV` until it or we are stopped; none of its processes outlives this call."""
    with child.stoppable():
        server = child.start([sys.executable, "-m", "swift.cli.main", *argv], os.environ)
        try:
            child.wait(server)
        finally:
            code = child.end(server)
    raise WorkFailed(f"the rollout server ended with exit code {code}; its own message stands above")

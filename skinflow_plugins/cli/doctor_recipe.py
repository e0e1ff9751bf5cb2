"""The part of `skinflow doctor` about a recipe: is it right, and does this machine have what it needs?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli import doctor
from skinflow_plugins.cli.doctor import Finding
from skinflow_plugins.errors import InputError, SkinflowError

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.recipe.schema import Recipe

INDENT = "\n         "


def findings(name: str, overrides: list[str], step: bool | None, parity: bool) -> Iterator[Finding]:
    """Everything found about a recipe with these changes; `step` and `parity` as on the command line."""
    from skinflow_plugins.cli import doctor_parity, doctor_speed, doctor_training
    from skinflow_plugins.cli.recipe_arguments import read_recipe
    from skinflow_plugins.cli.validate import valid
    from skinflow_plugins.recipe.machine import this_machine

    try:
        loaded, known = read_recipe(name, overrides)
    except InputError as error:
        for problem in error.problems:
            yield Finding("problem", str(problem).replace("\n    ", INDENT))
        return
    except SkinflowError as error:
        yield Finding("problem", str(error))
        return
    yield Finding("ok", valid(loaded, known).removeprefix("ok: "))
    yield _base(loaded.recipe)
    yield from _engine(loaded.recipe, known)
    machine = this_machine()
    yield from doctor_speed.of_the_stages(loaded.recipe, known, machine)
    if refused := list(doctor_speed.refused(loaded, machine)):
        yield from refused
        return  # a step would fail for the same reason
    yield from doctor_training.findings(loaded.recipe, known, step)
    if parity:
        yield from doctor_parity.findings(loaded.recipe, known)


def _base(recipe: Recipe) -> Finding:
    from skinflow_plugins.recipe.families import TINY

    base = recipe.model.base
    if base.startswith(TINY):
        return Finding("ok", f"base model {base}: built here at random, no download")
    if Path(base).expanduser().is_dir():
        return Finding("ok", f"base model {base}: a folder on this machine")
    if (found := folder_of(base)) is not None:
        return Finding("ok", f"base model {base}: on this machine, in {found}")
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    if offline:
        todo = "unset HF_HUB_OFFLINE, or give model.base=FOLDER"
        return Finding(
            "problem", f"base model {base} is not on this machine, and HF_HUB_OFFLINE is set", todo
        )
    todo = f"the run downloads it; to do that first: hf download {base}"
    return Finding("warning", f"base model {base} is not on this machine", todo)


def folder_of(base: str) -> Path | None:
    """The folder of a base model that is on this machine; None where it would be downloaded."""
    if (folder := Path(base).expanduser()).is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # Weights too: a folder with no more than a config is a download that was broken off.
        found = Path(snapshot_download(base, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError):
        return None
    return found if any(found.glob("*.safetensors")) else None


def _engine(recipe: Recipe, known: Catalogue) -> Iterator[Finding]:
    if recipe.rollouts.engine == "vllm" and not any(map(doctor.installed, doctor.VLLM)):
        todo = f"{doctor.get_vllm()}, or rollouts.engine=transformers"
        yield Finding("problem", "the recipe samples with vLLM, which is not installed", todo)
    if recipe.launch.mode == "process" and recipe.launch.processes > 1:
        import torch

        gpus = torch.cuda.device_count()
        if 0 < gpus < recipe.launch.processes:
            what = f"the recipe starts {recipe.launch.processes} processes, and there are {gpus} GPUs"
            yield Finding("problem", what, f"launch.processes={gpus}")

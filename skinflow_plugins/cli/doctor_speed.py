"""The part of `skinflow doctor` about kernels: what this machine has, and what each stage would use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from skinflow_plugins.cli.doctor import Finding
from skinflow_plugins.recipe import accelerators
from skinflow_plugins.recipe.machine import FLASH_ATTN, FLASH_ATTN_3, LIGER

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.recipe.load import Loaded
    from skinflow_plugins.recipe.machine import Machine
    from skinflow_plugins.recipe.schema import Recipe, Stage

INDENT = "\n         "
INSTEAD = {FLASH_ATTN: "attention is torch's own (sdpa)", LIGER: "the GRPO loss is swift's own"}
AGAIN = "pip install --no-build-isolation --force-reinstall --no-deps"
BACKEND = "SKINFLOW_BACKEND"


def findings(machine: Machine) -> Iterator[Finding]:
    """The packages of `speed:`, usable here or why not, and the kernels of the dynamic layers."""
    for name in (FLASH_ATTN, FLASH_ATTN_3, LIGER):
        if name in INSTEAD or name in machine.packages:
            yield package(machine, name)
    yield from kernels(machine)


def package(machine: Machine, name: str) -> Finding:
    """Whether a package can be used on this machine."""
    found, why = machine.packages.get(name), accelerators.unfit(machine, name)
    if found is None and machine.gpu is None:
        return Finding("ok", f"{name} is not installed, and would be of no use: {machine.no_gpu}")
    if found is None:
        return Finding("ok", f"{name} is not installed: {INSTEAD[name]} ({accelerators.GET})")
    if not why:
        return Finding("ok", f"{name} {found.version}, usable on {machine.gpu}")
    if found.broken:
        todo = f"install the build that belongs to this torch: {AGAIN} {name}"
        return Finding("warning", why, todo)
    if why.startswith(name):  # its version
        return Finding("warning", why)
    return Finding("ok", f"{name} {found.version} is of no use here: {why}")


def kernels(machine: Machine) -> Iterator[Finding]:
    """Which way the dynamic layers are computed; without Triton on a GPU that is a warning."""
    try:
        import torch

        import skinflow_kernels
    except Exception:  # the finding about torch says so
        return
    try:
        found: Any = skinflow_kernels.explain("cpu" if machine.gpu is None else "cuda", torch.bfloat16)
    except ValueError as error:
        yield Finding("problem", f"dynamic layers: {error}", f"unset {BACKEND}")
        return
    why = found.reasons.get("triton")
    text = f"dynamic layers: {found.backend}" + (f" (not triton: {why})" if why else "")
    if machine.gpu is not None and why and BACKEND not in os.environ:
        yield Finding("warning", text, "they train as well, and more slowly")
    else:
        yield Finding("ok", text)


# --- of a recipe -------------------------------------------------------------------------------------------


def of_the_stages(recipe: Recipe, known: Catalogue, machine: Machine) -> Iterator[Finding]:
    """Which attention and whose loss each stage uses on this machine, with the reasons."""
    from skinflow_plugins.recipe.plan import plan

    for stage in plan(recipe, known, root=PurePath("."), plugin="", machine=machine).stages:
        attention = stage.arguments.get(accelerators.ATTENTION)
        loss = stage.arguments.get(accelerators.LOSS)
        what = f"stage {stage.stage.name} ({stage.stage.kind}): attention "
        what += str(attention.value) if attention else "as transformers chooses"
        if stage.stage.kind == "grpo":
            what += ", loss of " + ("Liger" if loss and loss.value else "swift")
        reasons = [each.why for each in (attention, loss) if each and each.why]
        missing = accelerators.flash_here(machine)[1]
        if (
            attention
            and str(attention.value).startswith("flash")
            and missing
            and _by_swift(recipe, stage.stage)
        ):
            yield Finding("warning", what, f"not on this machine: {missing}")
        else:
            yield Finding("ok", what, INDENT.join(reasons))


def _by_swift(recipe: Recipe, stage: Stage) -> bool:
    """Whether the recipe names the attention under `swift:`, where nothing is held against it."""
    from skinflow_plugins.recipe import swift_arguments

    return accelerators.ATTENTION in swift_arguments.given(recipe, stage)


def refused(loaded: Loaded, machine: Machine) -> Iterator[Finding]:
    """What the recipe asks for by name and this machine does not have; `run` refuses it too."""
    for path, message, hint in accelerators.refusals(loaded.recipe, machine):
        problem = loaded.place(path).problem(path, message, hint)
        yield Finding("problem", str(problem).replace("\n    ", INDENT))

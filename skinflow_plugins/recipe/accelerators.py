"""Which attention kernel and whose GRPO loss a stage uses on a machine, each with its reason.

Under `speed:` a recipe asks for `auto`, the fastest that is known to do the same, or for one by name, which
is an error where it cannot be used. What the recipe itself rules out, `mistakes` says, on any machine; what
the machine rules out, `refusals`, and only where the recipe is to run. An argument under `swift:` wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.recipe import liger_limits, lines, rollouts, swift_arguments
from skinflow_plugins.recipe.explained import Explained
from skinflow_plugins.recipe.families import TINY
from skinflow_plugins.recipe.machine import FLASH_ATTN, FLASH_ATTN_3, LIGER, Machine
from skinflow_plugins.recipe.schema import Recipe, Stage

Mistake = tuple[lines.Path, str, str]
"""(path, what is wrong, what to do)."""

ATTENTION, LOSS = "attn_impl", "use_liger_kernel"
"""swift's names for the two."""
FLASH, FLASH_3 = "flash_attention_2", "flash_attention_3"
GET = "pip install 'skinflow-plugins[gpu]'"
AMPERE, HOPPER = (8, 0), (9, 0)
NEEDS: Mapping[str, tuple[tuple[int, int], str]] = MappingProxyType(
    {FLASH_ATTN: (AMPERE, "2.3.3"), FLASH_ATTN_3: (HOPPER, "0"), LIGER: ((0, 0), liger_limits.OLDEST)}
)
"""The compute capability that a package needs, and the oldest version that transformers or swift takes."""

_KNOWN = ("qwen2_5_vl", "qwen3_vl", "llava", "idefics3", "internvl")
_EAGER = MappingProxyType(
    {"gemma3": "the tokens of an image see one another, which its mask cannot say; swift takes eager"}
)
"""Families for which swift chooses by itself, and why not flash_attn."""
_NOT = "not "
_AUTO = "write `auto`, or leave it out"
_TINY = "a tiny model gains nothing from it"


def arguments(recipe: Recipe, stage: Stage, family: BaseFamily, machine: Machine) -> dict[str, Explained]:
    """What swift is told of both for a stage; of families that we do not know, only what was asked for."""
    found = {ATTENTION: attention(recipe, stage, family, machine)}
    if stage.kind == "grpo":
        found[LOSS] = loss(recipe, stage, family, machine)
    return {name: argument for name, argument in found.items() if argument is not None}


def attention(recipe: Recipe, stage: Stage, family: BaseFamily, machine: Machine) -> Explained | None:
    """swift's `attn_impl`; None leaves it to transformers."""
    asked = recipe.speed.attention
    here, missing = flash_here(machine)
    if asked == "flash_attn":
        why = "speed.attention: flash_attn" + (f"; not on this machine: {missing}" if missing else "")
        return Explained(here or FLASH, why)
    if asked != "auto":
        return Explained(asked, f"speed.attention: {asked}")
    if family.name in _EAGER:
        return Explained("eager", f"{_NOT}flash_attn: {_EAGER[family.name]}")
    if family.name not in _KNOWN:
        return None
    if why := _no_flash(recipe, stage, family) or missing:
        return Explained("sdpa", f"{_NOT}flash_attn: {why}")
    package = FLASH_ATTN if here == FLASH else FLASH_ATTN_3
    return Explained(here, f"{package} {machine.packages[package].version} on {machine.gpu}")


def loss(recipe: Recipe, stage: Stage, family: BaseFamily, machine: Machine) -> Explained:
    """swift's `use_liger_kernel` for a GRPO stage."""
    asked = recipe.speed.liger
    if asked is False:
        return Explained(False, "speed.liger: false")
    missing = unfit(machine, LIGER) or _spread(recipe, machine)
    if asked is True:
        return Explained(True, "speed.liger: true" + (f"; not on this machine: {missing}" if missing else ""))
    tiny = _TINY if recipe.model.base.startswith(TINY) else ""
    if why := _no_liger(recipe, stage, family) or tiny or missing:
        return Explained(False, f"{_NOT}Liger's loss: {why}")
    return Explained(True, "Liger's GRPO loss, which never holds all logits; the layers stay the model's own")


def notes(recipe: Recipe, family: BaseFamily, machine: Machine) -> list[str]:
    """What a reader of the plan should know of both: for which machine they were chosen, and what is missing.

    Of a tiny model nothing is said; its arguments carry their reasons.
    """
    if recipe.model.base.startswith(TINY):
        return []
    slower = [
        argument.why
        for stage in recipe.stages
        for name, argument in arguments(recipe, stage, family, machine).items()
        if argument.why.startswith(_NOT) and name not in swift_arguments.given(recipe, stage)
    ]
    chosen = f"{ATTENTION} and {LOSS} are chosen for this machine ({machine}): plan on the one that trains"
    return [chosen, *dict.fromkeys(slower)]


def mistakes(recipe: Recipe, family: BaseFamily | None) -> Iterator[Mistake]:
    """What is asked for under `speed:` and this recipe rules out on any machine."""
    speed = recipe.speed
    for number, stage in enumerate(recipe.stages):
        given = swift_arguments.given(recipe, stage)
        for key, name in (("attention", ATTENTION), ("liger", LOSS)):
            if getattr(speed, key) != "auto" and name in given:
                here: lines.Path = ("swift", name)
                at = ("stages", number, *here) if name in stage.swift else here
                yield at, f"speed.{key} is given as well", "leave one of the two out"
    if speed.attention == "flash_attn":
        yield from _first("attention", "flash_attn", recipe.stages, lambda s: _no_flash(recipe, s, family))
    if speed.liger is True:
        learning = [stage for stage in recipe.stages if stage.kind == "grpo"]
        yield from _first("liger", "Liger's loss", learning, lambda s: _no_liger(recipe, s, family))
        if not learning:
            yield ("speed", "liger"), "found true, and no stage has a GRPO loss", "leave it out"


def _first(
    key: str, what: str, stages: Sequence[Stage], why_not: Callable[[Stage], str]
) -> Iterator[Mistake]:
    """That the first stage for which there is a reason against it cannot have it."""
    for stage in stages:
        if why := why_not(stage):
            yield ("speed", key), f"{_NOT}{what} in stage {stage.name}: {why}", _AUTO
            return


def refusals(recipe: Recipe, machine: Machine) -> Iterator[Mistake]:
    """What is asked for under `speed:` and cannot be used on this machine: a run would fail in the middle."""
    if recipe.speed.attention == "flash_attn" and (why := flash_here(machine)[1]):
        yield ("speed", "attention"), f"{_NOT}flash_attn on this machine: {why}", _AUTO
    if recipe.speed.liger is True and (why := unfit(machine, LIGER) or _spread(recipe, machine)):
        yield ("speed", "liger"), f"{_NOT}Liger's loss on this machine: {why}", _AUTO


# --- what the machine has --------------------------------------------------------------------------------


def flash_here(machine: Machine) -> tuple[str, str]:
    """(swift's name of the flash attention that works on this machine, why there is none)."""
    why = unfit(machine, FLASH_ATTN)
    if not why:
        return FLASH, ""
    # The third generation is made for Hopper alone.
    if machine.capability[0] == HOPPER[0] and not unfit(machine, FLASH_ATTN_3):
        return FLASH_3, ""
    return "", why


def unfit(machine: Machine, name: str) -> str:
    """Why a package cannot be used on this machine; "" where it can."""
    package, (capability, oldest) = machine.packages.get(name), NEEDS[name]
    if machine.gpu is None:
        return machine.no_gpu
    if machine.capability < capability:
        has, wants = (".".join(map(str, pair)) for pair in (machine.capability, capability))
        return f"{machine.gpu} has compute capability {has}, and {name} needs {wants}"
    if package is None:
        return f"{name} is not installed ({GET})"
    if package.broken:
        return f"{name} {package.version} cannot be imported: {package.broken}"
    if _older(package.version, oldest):
        return f"{name} {package.version} is older than {oldest} ({GET} --upgrade)"
    return ""


def _older(found: str, oldest: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(found) < Version(oldest)
    except InvalidVersion:
        return True


def _spread(recipe: Recipe, machine: Machine) -> str:
    """Why swift would split the model over GPUs, where Liger's loss cannot follow."""
    each = machine.gpus // recipe.launch.processes
    if each < 2:
        return ""
    return f"each process would spread the model over {each} GPUs; give launch.processes={machine.gpus}"


# --- what the recipe rules out -----------------------------------------------------------------------------


def _no_flash(recipe: Recipe, stage: Stage, family: BaseFamily | None) -> str:
    if family is not None and family.name in _EAGER:
        return _EAGER[family.name]
    tiny = recipe.model.base.startswith(TINY)
    dtype = swift_arguments.given(recipe, stage).get("torch_dtype", "float32" if tiny else "bfloat16")
    if dtype in ("bfloat16", "float16"):
        return ""
    return f"it takes 16-bit numbers, and the model is held in {dtype}"


def _no_liger(recipe: Recipe, stage: Stage, family: BaseFamily | None) -> str:
    if recipe.rollouts.engine == "vllm":
        return f"it {rollouts.NO_LOGITS}"
    if family is not None and family.name not in (*_KNOWN, *_EAGER):
        return f"it was never tried with the family {family.name}"
    return liger_limits.limit(swift_arguments.given(recipe, stage))

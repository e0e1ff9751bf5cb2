"""A model's parameters by part: how many there are, how many train, and the norm of their gradient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skinflow_plugins.models.seam import ROUTER

if TYPE_CHECKING:
    from torch import nn

TOWER, ROUTERS, PROJECTOR, LANGUAGE, ELSEWHERE = (
    *("vision tower", "its routers", "projector", "language model", "elsewhere"),
)
LORA = "LoRA in "


@dataclass(frozen=True)
class Part:
    """One part of the model: how many parameters it has and how many of them train.

    `norm` is the norm of their gradient after the step; None when there was none to take. `modules` counts
    the modules that train something, and `silent` names those whose every gradient is zero: one live tensor
    is enough, because at the first step a router's first layer and a LoRA's A lie behind zeros.
    """

    name: str
    parameters: int
    trained: int
    norm: float | None
    modules: int
    silent: tuple[str, ...]


def homes_of(arch: Any, tower: str) -> dict[str, str]:
    """Path -> part, by what swift freezes under `freeze_vit`, `freeze_aligner` and `freeze_llm`.

    A model that swift knows no architecture of has the tower at `tower`, and the rest elsewhere.
    """
    found = {tower: TOWER}
    names = {"language_model": LANGUAGE, "vision_tower": TOWER, "aligner": PROJECTOR}
    for attribute, part in names.items():
        found |= dict.fromkeys(getattr(arch, attribute, None) or (), part)
    return found


_WRAPPING = re.compile(r"^base_model\.model\.|\.base_layer(?=\.)|\.modules_to_save\.[^.]+(?=\.)")
"""What PEFT puts around the names of a model."""


@dataclass
class _Module:
    """The parameters that live or die together: those of a router, of an adapter, of a layer."""

    part: str
    parameters: int = 0
    trained: int = 0
    squares: float = 0.0
    alive: bool = False


def parts_of(model: nn.Module, homes: Mapping[str, str], *, step: bool) -> tuple[Part, ...]:
    """Every part of the model with its counts and, after a `step`, with the norm of its gradient."""
    modules: dict[str, _Module] = {}
    for raw, parameter in model.named_parameters():
        if ".original_module." in raw:
            continue  # the copy that PEFT keeps of what it trains; nothing is computed with it
        name = _WRAPPING.sub("", raw)
        part, path = _place(name, homes)
        module = modules.setdefault(path, _Module(part))
        module.parameters += parameter.numel()
        if not parameter.requires_grad:
            continue
        module.trained += parameter.numel()
        if parameter.grad is not None:
            norm = float(parameter.grad.detach().float().norm())
            module.squares += norm**2
            module.alive |= norm != 0.0
    order = [TOWER, ROUTERS, PROJECTOR, LANGUAGE, ELSEWHERE]
    order += [LORA + part for part in order]
    return tuple(_sum(part, modules, step) for part in order if any(m.part == part for m in modules.values()))


def _place(name: str, homes: Mapping[str, str]) -> tuple[str, str]:
    """(part, path of the module) of a parameter."""
    inside = [path for path in homes if name.startswith(f"{path}.")]
    part = homes[max(inside, key=len)] if inside else ELSEWHERE
    before, adapter, _ = name.partition(".lora_")
    if adapter:
        return LORA + part, f"{before} (LoRA)"
    before, router, _ = name.partition(f".{ROUTER}.")
    if router:
        return ROUTERS, f"{before}.{ROUTER}"
    return part, name.rpartition(".")[0]


def _sum(part: str, modules: Mapping[str, _Module], step: bool) -> Part:
    own = {path: module for path, module in modules.items() if module.part == part}
    training = {path: module for path, module in own.items() if module.trained}
    return Part(
        part,
        sum(module.parameters for module in own.values()),
        sum(module.trained for module in own.values()),
        sum(module.squares for module in training.values()) ** 0.5 if step and training else None,
        len(training),
        tuple(path for path, module in training.items() if not module.alive) if step else (),
    )

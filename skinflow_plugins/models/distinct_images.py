"""One pass of the vision tower for each distinct image of a forward.

The completions of a GRPO group share their image, and every completion brings a copy of it: to the training
forward, to the old and the reference log-probabilities, and to the prefill of transformers' `generate`. A
shared tower finds the copies, computes one of each, and gives every row its output. What the rest of the
model sees, and the gradient of every parameter, are the same numbers up to rounding: a matrix product of
fewer rows may add up in another order.

Each process looks at the images of its own forward. The tower's modules are called as often as before, so
what DDP, FSDP and ZeRO gather around them still matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.models.shared_tower import (
    GRID,
    SharedImages,
    argument_names,
    differing_part,
    own_class,
    shared_class,
)

WRAPPERS = {"_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"}
"""What FSDP, activation checkpointing and torch.compile put into the path of a module."""


def share_images(model: nn.Module, family: BaseFamily) -> str:
    """Make the vision tower of a model compute each distinct image of a forward once, in place.

    The model may be dynamic, and wrapped by PEFT or by another program. Gives "" when that is done, or was
    before; otherwise why it must not be done, and then nothing is changed.

    Dropout that comes into the tower later, such as LoRA's, is noticed: while it is active, every image is
    computed. So it is inside a program that torch.compile made, where the numbers of an image are not known;
    a tower may be compiled by its own `compile()`.
    """
    if family.seam is None:
        return f"the family {family.name} has no seam, which would say how its vision tower holds images"
    kind = family.seam.images
    if kind not in ("packed", "rows", "masked_rows"):
        return f"the vision tower of the family {family.name} holds images in a way of its own ({kind})"
    towers = list(_towers(model, family.vision_tower))
    if not towers:
        return f"a {type(model).__name__} has no {family.vision_tower}, the vision tower of {family.name}"
    for tower in towers:
        names = argument_names(tower)
        packed = kind == "packed"
        if not (GRID in names[1:] if packed else names[:1] == ("pixel_values",)):
            wanted = f"{GRID} after the patches" if packed else "pixel_values first"
            return f"{type(tower).__name__} takes ({', '.join(names)}); expected {wanted}"
        if reason := differing_part(tower):
            return reason
    for tower in towers:
        own: Any = type(tower)
        if not issubclass(own, SharedImages):
            tower.__class__ = shared_class(own, kind)
            tower.skinflow_images = (0, 0)
    return ""


def unshare_images(model: nn.Module) -> None:
    """Undo `share_images`; raises `TypeError` when another program has made a class from the shared one."""
    for module in model.modules():
        if isinstance(module, SharedImages):
            kind: Any = type(module)
            if kind.__bases__[0] is not SharedImages:
                raise TypeError(f"{kind.__name__} was made from a tower that shares images; undo that first")
            module.__class__ = own_class(kind)
            del module.skinflow_images


def _towers(model: nn.Module, path: str) -> Iterator[Any]:
    """The modules that stand at `path` below some model inside `model`; of wrappers, what they hold."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        plain = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if f".{plain}".endswith(f".{path}"):
            found[plain] = module  # what is inside a wrapper comes after it
    for module in found.values():
        trained = getattr(module, "modules_to_save", None)  # PEFT's copies, one for each adapter
        if isinstance(trained, nn.ModuleDict):
            yield module.original_module
            yield from trained.values()
        else:
            yield module

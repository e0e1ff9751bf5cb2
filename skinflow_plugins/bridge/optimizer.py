"""The Trainer's own optimizer with the routers of a dynamic encoder in groups of their own.

Registered with swift as `skinflow`. The optimizer is made by the Trainer as ever and then regrouped, while it
has no state yet: so every `--optim` and all that the Trainer does about meshes and precision stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swift.optimizers.base import OptimizerCallback
from torch import Tensor
from torch.optim import Optimizer

from skinflow_plugins.bridge import settings
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.seam import ROUTER

HEADS = tuple(f"{gate}_{kind}" for gate in ("input", "output", "band") for kind in ("weight", "bias"))
"""Endings of the parameters of a router that do nothing at zero; its other parameters have no such place."""


class SkinflowOptimizer(OptimizerCallback):
    """Registered as `skinflow`; the routers' learning rate and decay come from the stage's settings."""

    def create_optimizer(self, model: Any = None) -> Optimizer:
        optimizer: Optimizer = super().create_optimizer(model)
        stage = settings.current()
        if stage is None:
            raise InputError(
                "optimizer 'skinflow' takes the routers' learning rate and weight decay from a recipe, and "
                "none started this process; leave out --optimizer skinflow, or write a recipe with "
                "tuning: {router_learning_rate: ...}"
            )
        tuning, trained = stage.tuning, self.trainer.model if model is None else model
        rate = tuning.router_learning_rate
        give_routers_their_own(
            optimizer,
            trained.named_parameters(),
            learning_rate=self.args.learning_rate if rate is None else rate,
            weight_decay=tuning.router_weight_decay or 0.0,
        )
        return optimizer


def give_routers_their_own(
    optimizer: Optimizer,
    named_parameters: Iterable[tuple[str, Tensor]],
    *,
    learning_rate: float,
    weight_decay: float,
) -> None:
    """Move router parameters of a fresh optimizer into groups of their own; the others stay where they are.

    `weight_decay` is for the heads, weights and biases alike: it pulls them to zero, where a router is the
    identity. The rest of a router gets none. Schedulers made afterwards scale each group from its own rate.

    Raises `InputError` when no router parameter is trained.
    """
    routers = {id(p): (name, p) for name, p in named_parameters if p.requires_grad and is_router(name)}
    taken = {id(p) for group in optimizer.param_groups for p in group["params"]}
    routers = {key: found for key, found in routers.items() if key in taken}
    if not routers:
        raise InputError(
            Problem(
                "no router parameter is trained, and the routers were given a learning rate or weight decay",
                path="tuning",
                hint="write model.vision.encoder: dve, and nothing under `swift:` that freezes the routers; "
                "or leave out tuning.router_learning_rate and tuning.router_weight_decay",
            )
        )
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in routers]
    heads = [p for name, p in routers.values() if is_head(name)]
    others = [p for name, p in routers.values() if not is_head(name)]
    for parameters, decay in ((heads, weight_decay), (others, 0.0)):
        if parameters:
            optimizer.add_param_group({"params": parameters, "lr": learning_rate, "weight_decay": decay})


def is_router(name: str) -> bool:
    """Whether a parameter of this name belongs to a router; PEFT and DDP put words of their own around it."""
    return ROUTER in name.split(".")[:-1]


def is_head(name: str) -> bool:
    """Whether a router parameter of this name belongs to a head; a router for a whole block prefixes them."""
    return name.rpartition(".")[2].endswith(HEADS)

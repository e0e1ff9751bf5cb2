"""Whether the routers of a dynamic encoder really train; swift and PEFT leave them frozen without a word.

Knows a dynamic model by its `config.dve`; about any other model it has nothing to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.seam import ROUTER
from skinflow_plugins.recipe.tuning import ROUTER_PARAMETERS

if TYPE_CHECKING:
    from torch import nn

    from skinflow_plugins.vision import FDProjection

_SHOWN = 3


def check_trainable(model: nn.Module, *, any_precision: bool = False) -> None:
    """Raise `InputError` unless every router trains, in float32, and no projection carries a LoRA adapter.

    `any_precision` leaves the float32 out: DeepSpeed casts the whole model when training begins, and keeps a
    float32 copy of what it trains for itself.
    """
    model = unwrapped(model)
    if not is_dynamic(model):
        return
    problems = list(_frozen(model)) + list(_adapted(model))
    if not any_precision:
        problems += _imprecise(model)
    if problems:
        raise InputError(problems)


def check_precision(model: nn.Module) -> None:
    """Raise `InputError` unless every router is in float32; to be asked before an engine casts the model."""
    model = unwrapped(model)
    if is_dynamic(model) and (problems := _imprecise(model)):
        raise InputError(problems)


def refresh_bases(model: nn.Module, *, frozen: bool = False) -> None:
    """Make every dynamic projection whose weight trains derive its bases anew; with `frozen`, every one.

    A projection sees most changes of its weight by itself. DeepSpeed's engine writes weights back in ways
    that it does not see.
    """
    model = unwrapped(model)
    if is_dynamic(model):
        for _, projection in _projections(model):
            if frozen or projection.weight.requires_grad:
                projection.refresh()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model within DDP's or DeepSpeed's wrapper; PEFT's stays on, because adapters are judged too."""
    from torch import nn

    # transformers' models know no `module`; every engine that takes one keeps it under this name.
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model


def is_dynamic(model: nn.Module) -> bool:
    """Whether the model, or the one within PEFT's wrapper, has a dynamic vision encoder."""
    return bool(getattr(getattr(model, "config", None), "dve", None))


def routers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every router by its name; where PEFT trains a copy of it, the wrapper around both."""
    return [found for found in model.named_modules() if found[0].rpartition(".")[2] == ROUTER]


def _trained_part(router: nn.Module) -> Sequence[nn.Parameter]:
    """The parameters that the forward pass uses: those of PEFT's active copy, or the router's own."""
    copies: Any = getattr(router, "modules_to_save", None)
    if copies is None:
        return list(router.parameters())
    active = [name for name in getattr(router, "active_adapters", ()) if name in copies]
    return [parameter for name in active for parameter in copies[name].parameters()]


def _trains(router: nn.Module) -> bool:
    parameters = _trained_part(router)
    return bool(parameters) and all(parameter.requires_grad for parameter in parameters)


def _frozen(model: nn.Module) -> Iterator[Problem]:
    found = routers(model)
    frozen = [name for name, router in found if not _trains(router)]
    if not found:
        yield Problem(
            f"config.dve says that the vision encoder is dynamic, but the model has no module {ROUTER!r}",
            hint="the base model was loaded in its place: is --model_type the one with skinflow_ in front?",
        )
    if frozen:
        if hasattr(model, "peft_config"):
            hint = f"pass --modules_to_save {ROUTER} (exactly this word; PEFT knows no patterns)"
        else:
            hint = f"pass --trainable_parameters_regex '{ROUTER_PARAMETERS}', or --freeze_vit false"
        yield Problem(
            f"{len(frozen)} of {len(found)} routers would stay frozen: {_some(frozen)}",
            hint=f"{hint}; a recipe's `tuning:` does so by itself, unless its `swift:` says otherwise",
        )


def _adapted(model: nn.Module) -> Iterator[Problem]:
    """Projections that an adapter was put on: once merged, they would compute another function."""
    inside = {id(projection) for _, projection in _projections(model)}
    names = [
        name for name, module in model.named_modules() if id(getattr(module, "base_layer", None)) in inside
    ]
    if names:
        yield Problem(
            f"{len(names)} dynamic projections carry an adapter: {_some(names)}; merged, or handed to the "
            "rollouts, they would compute another function",
            hint="leave --target_modules out (swift's all-linear goes around them), or pass a --target_regex "
            "that matches linears of the language model only",
        )


def _imprecise(model: nn.Module) -> list[Problem]:
    import torch

    names = [
        f"{name}.{key} ({str(value.dtype).removeprefix('torch.')})"
        for name, router in routers(model)
        for key, value in router.named_parameters()
        if value.dtype != torch.float32
    ]
    if not names:
        return []
    return [
        Problem(
            f"{len(names)} router parameters are not float32: {_some(names)}",
            hint="gains near 1 have no digits left in 16 bits; load the model with from_pretrained, which "
            "keeps routers in float32 under any --torch_dtype, and do not cast it afterwards",
        )
    ]


def _projections(model: nn.Module) -> Iterator[tuple[str, FDProjection]]:
    from skinflow_plugins.vision import FDProjection

    return ((name, module) for name, module in model.named_modules() if isinstance(module, FDProjection))


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")

"""What makes a second forward of the same inputs another one while a model trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

RANDOM = ("drop", "jitter", "noise")
"""Settings with such a word in their name draw random numbers where they are above zero."""


def random_parts(model: nn.Module) -> Iterator[str]:
    """What draws random numbers in a forward of a model in training mode, or changes with each; in words.

    A setting counts wherever it stands, on a module or in a config: much of transformers' attention reads
    its dropout from there. It may be one that nothing reads; whoever knows can set it to zero.
    """
    for name, module in model.named_modules():
        if isinstance(module, _DropoutNd):
            if module.p > 0:
                yield f"dropout of {module.p} in {name or 'the model'}"
        elif isinstance(module, nn.RReLU):
            yield f"a random slope in {name}"
        elif isinstance(module, _BatchNorm) and module.track_running_stats:
            yield f"running statistics in {name}"
        else:
            for key, value in _above_zero(vars(module)):
                yield f"{key} of {value} in {name or 'the model'}"
    config: Any = getattr(model, "config", None)
    settings = config.to_dict() if hasattr(config, "to_dict") else config
    if isinstance(settings, Mapping):
        for key, value in _above_zero(settings):
            yield f"{key} of {value} in the model's config"


def _above_zero(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _above_zero(value)
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and value > 0 and any(word in str(name).lower() for word in RANDOM):
            yield str(name), value

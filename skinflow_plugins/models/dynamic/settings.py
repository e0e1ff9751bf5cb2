"""What a checkpoint's config.json says of its dynamic projections, under the key `dve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.vision.router import GATES

FORMAT = 1
"""Version of this block and of the function that it describes."""


@dataclass(frozen=True, kw_only=True)
class DynamicSettings:
    """The dynamic projections of one checkpoint.

    `layers` are block numbers from 0; `projections` are `gate`, `up`, `down`. `bands` is K, and `thresholds`
    the K - 1 radius keys that part the bands of each projection, so that no later version of the rule changes
    what a checkpoint computes. `router` is `projection` (one each) or `block` (one for a block's MLP, from
    the mean of the MLP's input). `gates` and `reduction` are the router's; `frozen_bases` keeps the bases of
    the weights at grafting.
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    bands: int
    thresholds: Mapping[str, tuple[int, ...]]
    gates: tuple[str, ...] = GATES
    router: Literal["projection", "block"] = "projection"
    reduction: int = 16
    frozen_bases: bool = False
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """The block as JSON has it: lists in the place of tuples."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def read(cls, config: Any) -> Self:
        """The settings of a model config; `InputError` when it has none, or those of another format."""
        found = getattr(config, "dve", None)
        hint = "make one with `skinflow graft BASE OUT`"
        if not isinstance(found, Mapping):
            message = f"the config of a {config.model_type} model needs a block `dve`, found {found!r}"
            raise InputError(Problem(message, where="config.json", hint=hint))
        if found.get("format") != FORMAT:
            message = (
                f"dve.format is {found.get('format')!r}; this version of skinflow-plugins reads {FORMAT}"
            )
            hint = "install the version that wrote the checkpoint, or graft its base anew"
            raise InputError(Problem(message, where="config.json", hint=hint))
        known = [each.name for each in fields(cls)]
        problems = [f"unknown key {name!r}; {nearest(name, known)}" for name in found if name not in known]
        problems += [
            f"is missing {name!r}"
            for name in ("layers", "projections", "bands", "thresholds")
            if name not in found
        ]
        if problems:
            raise InputError([Problem(each, where="config.json", path="dve") for each in problems])
        values: dict[str, Any] = {
            name: tuple(value) if _is_list(value) else value for name, value in found.items()
        }
        values["thresholds"] = {name: tuple(keys) for name, keys in found["thresholds"].items()}
        return cls(**values)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if _is_list(value) else value

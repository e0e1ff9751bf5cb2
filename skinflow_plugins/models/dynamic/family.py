"""A dynamic family for every base family with a seam: config class, model class, and registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import transformers
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING

from skinflow_plugins.models.dynamic.model import DynamicModel
from skinflow_plugins.models.families import FAMILIES, BaseFamily

PREFIX = "skinflow_"
"""A dynamic family's model types are those of its base with this in front."""


@dataclass(frozen=True)
class DynamicFamily:
    """A base family and the classes of its members with a dynamic vision encoder."""

    base: BaseFamily
    config_class: type
    model_class: type

    @property
    def hf_model_type(self) -> str:
        return PREFIX + self.base.hf_model_type

    @property
    def swift_model_type(self) -> str:
        return PREFIX + self.base.swift_model_type


@cache
def dynamic_family(base: BaseFamily) -> DynamicFamily:
    """The dynamic family of a base family with a seam, made once; ValueError when it has none.

    A model type of its own makes sure that nobody opens such a checkpoint as its base: without this package,
    transformers, ms-swift and vLLM know no such type.
    """
    if base.seam is None:
        raise ValueError(f"the family {base.name!r} has no seam, so its vision tower cannot be made dynamic")
    plain: Any = getattr(transformers, base.architectures[0])
    config_class = type(
        f"Skinflow{plain.config_class.__name__}",
        (plain.config_class,),
        {
            "model_type": PREFIX + base.hf_model_type,
            "__annotations__": {"dve": dict | None},
            "dve": None,
            "__module__": __name__,
            "__doc__": f"{plain.config_class.__name__} with a block `dve`, see `DynamicSettings`.",
        },
    )
    model_class = type(
        f"Skinflow{plain.__name__}",
        (DynamicModel, plain),
        {
            "config_class": config_class,
            "skinflow_base": base,
            "__module__": __name__,
            "__doc__": f"{plain.__name__} with a dynamic vision encoder.",
        },
    )
    # Pickles and reports look classes up in their module.
    globals()[config_class.__name__] = config_class
    globals()[model_class.__name__] = model_class
    return DynamicFamily(base, config_class, model_class)


def __getattr__(name: str) -> Any:
    """A class of a built-in family, in a process that unpickles it before anything was registered."""
    if name.startswith("Skinflow"):
        dynamic_families()
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def dynamic_families(bases: Sequence[BaseFamily] = FAMILIES) -> list[DynamicFamily]:
    """The dynamic families of all base families that can have one."""
    return [dynamic_family(base) for base in bases if base.seam is not None]


def is_dynamic(model_type: str | None) -> bool:
    """Whether a config's model_type is that of a dynamic family."""
    return bool(model_type) and str(model_type).startswith(PREFIX)


def register(bases: Sequence[BaseFamily] = FAMILIES) -> list[DynamicFamily]:
    """Make transformers' Auto classes know the dynamic families; call it any number of times."""
    families = dynamic_families(bases)
    for family in families:
        _register(family)
    return families


def _register(family: DynamicFamily) -> None:
    plain_config = getattr(transformers, family.base.architectures[0]).config_class
    AutoConfig.register(family.hf_model_type, family.config_class, exist_ok=True)
    AutoModelForImageTextToText.register(family.config_class, family.model_class, exist_ok=True)
    for mapping in (
        TOKENIZER_MAPPING,
        PROCESSOR_MAPPING,
    ):  # folders may not name their classes
        if plain_config in mapping:
            mapping.register(family.config_class, mapping[plain_config], exist_ok=True)
    # transformers renames old keys of a checkpoint by class name, and skips classes that it does not know.
    names = (
        (family.model_class.__name__, family.base.architectures[0]),
        (family.hf_model_type, family.base.hf_model_type),
    )
    for ours, theirs in names:
        renaming = get_checkpoint_conversion_mapping(theirs)
        if renaming is not None:
            register_checkpoint_conversion_mapping(ours, renaming, overwrite=True)

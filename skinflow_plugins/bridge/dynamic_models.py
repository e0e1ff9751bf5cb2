"""The dynamic families as ms-swift knows models: type, architecture, loader and the base's template."""

from __future__ import annotations

import dataclasses
from typing import Any

from skinflow_plugins.catalogue import Catalogue


def register_dynamic_models(catalogue: Catalogue) -> list[str]:
    """Make transformers and swift know every dynamic family; returns swift's model types.

    Call it any number of times. Each type is its base's entry with another loader class, so templates,
    freezing and everything else that swift knows of the base holds. swift tells a checkpoint's type by its
    architecture, which is our class; `swift infer --model CHECKPOINT` needs no further flag than the plug-in.
    """
    from swift.model import MODEL_MAPPING, register_model

    from skinflow_plugins.models.dynamic import register

    families = register([entry.value for entry in catalogue.table("base_models").values()])
    for family in families:
        base = MODEL_MAPPING.get(family.base.swift_model_type)
        if base is None:
            continue  # a third party's swift type that is not registered yet: swift names it when it is used
        arch = base.model_arch
        meta = dataclasses.replace(
            base,
            model_type=family.swift_model_type,
            model_groups=[],
            loader=_loader(base.loader, family.model_class),
            model_arch=getattr(arch, "arch_name", arch),
            architectures=[family.model_class.__name__],
            template=family.base.swift_template,
        )
        meta.is_multimodal = True  # swift reads it off its own list of names
        register_model(meta, exist_ok=True)
    return [family.swift_model_type for family in families]


def _loader(base: type, model_class: type) -> type:
    """The base's loader, for our class: everything else that it does to a model is kept.

    It stands in this module under its name, because `swift rollout` sends it to another process.
    """

    def get_model(self: Any, *arguments: Any, **keywords: Any) -> Any:
        self.auto_model_cls = model_class
        return base.get_model(self, *arguments, **keywords)  # type: ignore[attr-defined]

    name = f"Skinflow{base.__name__}"
    loader = type(name, (base,), {"get_model": get_model, "__module__": __name__})
    globals()[name] = loader
    return loader


def __getattr__(name: str) -> Any:
    """A loader, in a process that only unpickles it."""
    if name.startswith("Skinflow"):
        from skinflow_plugins.catalogue import catalogue

        register_dynamic_models(catalogue())
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

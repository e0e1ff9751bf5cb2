"""Which family a recipe's base model belongs to, found without opening any weights."""

from __future__ import annotations

from pathlib import Path

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.families import BaseFamily, family_of, family_of_hub_id
from skinflow_plugins.recipe.schema import Model

TINY = "tiny:"


def family_for(model: Model, catalogue: Catalogue) -> BaseFamily:
    """The base family of `model.base`: named, built-in tiny, by the folder's config, or by a hub id.

    Raises `InputError` when none of these tells it.
    """
    if model.family:
        found: BaseFamily = catalogue.get("base_models", model.family)
        return found
    if model.base.startswith(TINY):
        found = catalogue.get("base_models", model.base.removeprefix(TINY))
        return found
    folder = Path(model.base).expanduser()
    families = [entry.value for entry in catalogue.table("base_models").values()]
    known = family_of(folder, families) if folder.is_dir() else family_of_hub_id(model.base, families)
    if known is None:
        raise InputError(
            Problem(
                f"cannot tell which family {model.base!r} belongs to",
                path="model.base",
                hint="set model.family to one of: " + ", ".join(catalogue.names("base_models")),
            )
        )
    return known

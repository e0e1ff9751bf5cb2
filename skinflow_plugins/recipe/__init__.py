"""Recipes: read from YAML (`load`), checked (`check`) and planned (`plan`). Reading touches nothing."""

from skinflow_plugins.recipe.check import check, checked
from skinflow_plugins.recipe.load import Loaded, filled_options, load
from skinflow_plugins.recipe.schema import Recipe

__all__ = ["Loaded", "Recipe", "check", "checked", "filled_options", "load"]

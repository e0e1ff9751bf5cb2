"""The options of a metric as a recipe fills them in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.declare import Metric
from skinflow_plugins.recipe.load import filled_options
from skinflow_plugins.recipe.schema import Recipe


def metric_options(
    recipe: Recipe, catalogue: Catalogue, metric: Metric, given: Mapping[str, Any]
) -> dict[str, Any]:
    """`given`, and what the recipe says for all metrics: taxonomy, caption fields, and k."""
    filled = filled_options(recipe, metric, given)
    names = {option.name for option in metric.options}
    if "k" in names:
        filled.setdefault("k", recipe.eval.top_k)
    if recipe.eval.taxonomy and "taxonomy" in names - given.keys():
        filled["taxonomy"] = recipe.eval.taxonomy
    if isinstance(filled.get("taxonomy"), str):
        filled["taxonomy"] = taxonomy_source(catalogue, filled["taxonomy"])
    return filled


def taxonomy_source(catalogue: Catalogue, name: str) -> str:
    """A name that `load_taxonomy` knows: a built-in stays a name, a third party's becomes its file's path."""
    entry = catalogue.table("taxonomies").get(name)
    return name if entry is None or entry.owner == "skinflow-plugins" else str(entry.value)


def target_of(metric: Metric) -> str:
    """The form of the answers that a metric reads."""
    return "caption" if metric.task == "caption" else "ranked_list"

"""Names of the dynamic projections of a model that does not exist yet, as far as its recipe tells them."""

from __future__ import annotations

from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.recipe.schema import Vision

_ANY_LAYER = range(128)
"""Words such as `full_attention` mean numbers that only the base's config knows; no tower is deeper."""


def projection_paths(vision: Vision, family: BaseFamily) -> list[str]:
    """Paths, from the top-level model, of every linear that `vision` makes or may make dynamic.

    Empty where the family has no seam.
    """
    seam = family.seam
    if seam is None:
        return []
    try:
        chosen = seam.chosen(vision.options.get("projections", "all"))
    except (TypeError, ValueError):  # reported where the encoder's options are checked
        chosen = tuple(seam.projections)
    layers = vision.options.get("layers")
    numbers = layers if isinstance(layers, (list, tuple)) else _ANY_LAYER
    return [
        f"{family.vision_tower}.{seam.blocks}.{number}.{seam.mlp}.{seam.projections[name]}"
        for number in numbers
        for name in chosen
    ]


def router_parameters() -> tuple[str, ...]:
    """Endings of the names of router parameters, to hold a regular expression against."""
    return ("mlp.up_proj.dve_router.band_weight", "mlp.dve_router.up_band_weight")

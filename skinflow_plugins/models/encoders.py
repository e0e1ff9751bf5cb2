"""The vision encoders that a recipe can name: the base model's own, and the dynamic one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from skinflow_plugins.declare import vision_encoder
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.models.graft_report import GraftReport


@vision_encoder("base")
def base(base: str | Path, out: Path, family: BaseFamily) -> None:
    """The vision tower as the base model has it."""


@vision_encoder("dve")
def dve(
    base: str | Path,
    out: Path,
    family: BaseFamily,
    *,
    layers: str | Sequence[int] = "full_attention",
    projections: str | Sequence[str] = "all",
    bands: int = 4,
    gates: Sequence[str] = ("input", "output", "band"),
    router: Literal["projection", "block"] = "projection",
    reduction: int = 16,
    frozen_bases: bool = False,
    link: Literal["symlink", "hardlink", "copy"] = "symlink",
    seed: int = 0,
) -> GraftReport:
    """The dynamic vision encoder of the SkinFlow paper (arXiv 2601.09136): MLP weights mixed per image.

    `layers` are the blocks whose MLPs become image-dependent: `full_attention`, `quarters` (the last of each
    quarter, where the paper has them) or numbers from 0. `projections` are `all`, or some of gate, up and
    down. `bands` is K, the number of frequency bands of a weight. `gates` chooses what an image may scale
    besides bands: input and output channels. `router` is one for each projection, or one for each block.
    `reduction` narrows the router's hidden layer. With `frozen_bases` bands are those of the base model's
    weights for good; otherwise they follow the weights as these train. `link` is how the new checkpoint holds
    the base's weights. `seed`, by default the recipe's, is for the routers' first layers.
    """
    from skinflow_plugins.models.graft import graft

    return graft(
        base,
        out,
        layers=layers,
        projections=projections,
        bands=bands,
        gates=gates,
        router=router,
        reduction=reduction,
        frozen_bases=frozen_bases,
        link=link,
        seed=seed,
        family=family,
    )

"""The vision encoders that a recipe can name: the base model's own, and the dynamic one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.declare import vision_encoder
from skinflow_plugins.errors import InputError, Problem


@vision_encoder("base")
def base(base: Path, out: Path) -> None:
    """The vision tower as the base model has it."""


@vision_encoder("dve")
def dve(
    base: Path,
    out: Path,
    *,
    layers: str | Sequence[int] = "full_attention",
    projections: Sequence[str] = ("gate", "up", "down"),
    bands: int = 4,
) -> Any:
    """The dynamic vision encoder of the SkinFlow paper (arXiv 2601.09136); not in this release yet.

    `layers` are the blocks whose MLPs become image-dependent, `projections` which of their linears, `bands`
    the number of frequency bands K. Raises `InputError`: recipes that use it can be validated and planned,
    and not run.
    """
    raise InputError(
        Problem(
            "the dynamic vision encoder is not part of this release; recipes with it validate and plan only",
            path="model.vision.encoder",
            hint="run with model.vision.encoder=base, or use a release that lists `skinflow graft`",
        )
    )

"""All extension points, on one page. Hooks are nouns and return lists; built-ins come through them too.

A plug-in is a module that a package names under the entry-point group `skinflow`; it implements any of these
with `@hookimpl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from skinflow_plugins.declare import Dataset, Metric, Reward, VisionEncoder
    from skinflow_plugins.models.families import BaseFamily

GROUP = "skinflow"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def skinflow_rewards() -> Sequence[Reward]:  # type: ignore[empty-body]
    """Rewards made with `@reward`."""


@hookspec
def skinflow_metrics() -> Sequence[Metric]:  # type: ignore[empty-body]
    """Metrics made with `@metric`; gates and reports use them."""


@hookspec
def skinflow_base_models() -> Sequence[BaseFamily]:  # type: ignore[empty-body]
    """Base model families: how a checkpoint is recognised, and what ms-swift calls its model and template."""


@hookspec
def skinflow_vision_encoders() -> Sequence[VisionEncoder]:  # type: ignore[empty-body]
    """Vision encoders that `model.vision.encoder` can name."""


@hookspec
def skinflow_projections() -> Sequence[VisionEncoder]:  # type: ignore[empty-body]
    """Projections that a vision encoder can put in the place of a linear layer."""


@hookspec
def skinflow_datasets() -> Sequence[Dataset]:  # type: ignore[empty-body]
    """Data sources made with `@dataset`."""


@hookspec
def skinflow_taxonomies() -> Sequence[Path]:  # type: ignore[empty-body]
    """YAML files of taxonomies; a file's stem is the taxonomy's name."""


@hookspec
def skinflow_recipe_dirs() -> Sequence[Path]:  # type: ignore[empty-body]
    """Folders of recipes that can be named without their path."""

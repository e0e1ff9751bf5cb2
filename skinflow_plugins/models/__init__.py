"""Base model families: what is known of each, and tiny members of them for tests and the demo.

Importing this package imports neither torch nor transformers; a name is looked up when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skinflow_plugins.models.families import (
        FAMILIES,
        BaseFamily,
        family_named,
        family_of,
        family_of_hub_id,
    )
    from skinflow_plugins.models.tiny import build_tiny

__all__ = ["FAMILIES", "BaseFamily", "build_tiny", "family_named", "family_of", "family_of_hub_id"]

_HOME = dict.fromkeys(__all__, "skinflow_plugins.models.families") | {
    "build_tiny": "skinflow_plugins.models.tiny",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

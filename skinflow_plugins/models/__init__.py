"""Base model families, the dynamic families made from them, and tiny members of both for tests and the demo.

Importing this package imports neither torch nor transformers; a name is looked up when first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skinflow_plugins.models.dynamic import DynamicSettings, register
    from skinflow_plugins.models.families import (
        FAMILIES,
        BaseFamily,
        families,
        family_named,
        family_of,
        family_of_hub_id,
    )
    from skinflow_plugins.models.graft import graft
    from skinflow_plugins.models.graft_report import GraftReport
    from skinflow_plugins.models.load import load
    from skinflow_plugins.models.seam import VisionSeam
    from skinflow_plugins.models.tiny import build_tiny

_HOME = {
    "BaseFamily": "families",
    "DynamicSettings": "dynamic",
    "FAMILIES": "families",
    "GraftReport": "graft_report",
    "VisionSeam": "seam",
    "build_tiny": "tiny",
    "families": "families",
    "family_named": "families",
    "family_of": "families",
    "family_of_hub_id": "families",
    "graft": "graft",
    "load": "load",
    "register": "dynamic",
}
__all__ = [
    "FAMILIES",
    "BaseFamily",
    "DynamicSettings",
    "GraftReport",
    "VisionSeam",
    "build_tiny",
    "families",
    "family_named",
    "family_of",
    "family_of_hub_id",
    "graft",
    "load",
    "register",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """Whoever imports a submodule first must not hide the function of the same name, as Python would."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

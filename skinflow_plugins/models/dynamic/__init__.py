"""Model families with a dynamic vision encoder, made from the base families by their seams.

Importing this package imports torch and transformers.
"""

from skinflow_plugins.models.dynamic.family import (
    PREFIX,
    DynamicFamily,
    dynamic_families,
    dynamic_family,
    is_dynamic,
    register,
)
from skinflow_plugins.models.dynamic.settings import FORMAT, DynamicSettings

__all__ = [
    "FORMAT",
    "PREFIX",
    "DynamicFamily",
    "DynamicSettings",
    "dynamic_families",
    "dynamic_family",
    "is_dynamic",
    "register",
]

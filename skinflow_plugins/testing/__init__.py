"""The contracts of plug-ins as one call each, for the tests of anybody who writes one.

Importing this package imports neither torch nor transformers; a name is looked up when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skinflow_plugins.testing.base_models import check_base_model, perturb_routers
    from skinflow_plugins.testing.metrics import check_metric
    from skinflow_plugins.testing.rewards import ODD_ANSWERS, check_reward
    from skinflow_plugins.testing.vision_encoders import check_vision_encoder

_HOME = {
    "ODD_ANSWERS": "rewards",
    "check_base_model": "base_models",
    "check_metric": "metrics",
    "check_reward": "rewards",
    "check_vision_encoder": "vision_encoders",
    "perturb_routers": "base_models",
}
__all__ = [
    "ODD_ANSWERS",
    "check_base_model",
    "check_metric",
    "check_reward",
    "check_vision_encoder",
    "perturb_routers",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

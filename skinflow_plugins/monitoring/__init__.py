"""A run while it learns: figures of every step, why its gradient is zero, and alarms for gamed rewards.

`Monitor` and `step_report` need numpy, and are imported when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from skinflow_plugins.monitoring.alarm import Alarm
from skinflow_plugins.monitoring.settings import KINDS, AlarmSettings

if TYPE_CHECKING:
    from skinflow_plugins.monitoring.monitor import Monitor
    from skinflow_plugins.monitoring.step_line import step_report

__all__ = ["KINDS", "Alarm", "AlarmSettings", "Monitor", "step_report"]

_LATE = {
    "Monitor": "skinflow_plugins.monitoring.monitor",
    "step_report": "skinflow_plugins.monitoring.step_line",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATE[name]), name)

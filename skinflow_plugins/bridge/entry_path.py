"""Where the file for `swift ... --external_plugins` lies; light, so that the command line can ask."""

from __future__ import annotations

from pathlib import Path


def plugin_path() -> str:
    """The absolute path of `entry/plugin.py`."""
    return str(Path(__file__).resolve().parent / "entry" / "plugin.py")

"""Where the answers of judges are kept."""

from __future__ import annotations

import os
from pathlib import Path

from skinflow_plugins.judging.settings import OFF

NAME = "judge.sqlite3"


def cache_path(setting: str | None) -> Path | None:
    """The file that a judge's setting `cache` stands for; None when no answer is to be kept.

    Without a setting it is `judge.sqlite3` in the folder $SKINFLOW_CACHE, or else in `skinflow` under
    $XDG_CACHE_HOME, or under `~/.cache`. It belongs on a disk of this machine: SQLite's shared memory does
    not work over a network.
    """
    if setting == OFF:
        return None
    if setting is not None:
        return Path(setting).expanduser().absolute()
    if folder := os.environ.get("SKINFLOW_CACHE"):
        return (Path(folder).expanduser() / NAME).absolute()
    return (Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "skinflow" / NAME).absolute()

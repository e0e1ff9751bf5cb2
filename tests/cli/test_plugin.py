"""`skinflow plugin`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_prints_one_path_and_nothing_else(skinflow: Callable[..., Any]) -> None:
    done = skinflow("plugin")
    assert (done.code, done.err) == (0, "")
    path = Path(done.out.removesuffix("\n"))
    assert path.is_absolute()
    assert path.is_file()
    assert path.parts[-2:] == ("entry", "plugin.py")

"""JSON files of a checkpoint folder, read with an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """The object in a file, with these keys; `InputError` when it is none or cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(Problem(f"cannot be read: {error}", where=str(path))) from error
    if not isinstance(found, dict):
        raise InputError(Problem(f"holds a JSON {type(found).__name__}; expected an object", where=str(path)))
    missing = [key for key in keys if not isinstance(found.get(key), dict)]
    if missing:
        raise InputError(Problem(f"has no object {missing[0]!r}", where=str(path)))
    return found

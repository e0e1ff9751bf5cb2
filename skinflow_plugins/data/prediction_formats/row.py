"""What every format's row is read into, before its values are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from skinflow_plugins.data.prediction_formats.files import Container

ABSENT: Final = object()
"""In place of a value whose key is not there at all; null is a value."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as its format has it: values are as they were found, `fields` under our names.

    `left_out` says why the row has no answer of a model that could be scored. `key` is the name that the row
    has in a label file, where it is not the id.
    """

    id: Any
    answer: Any
    fields: Mapping[str, Any] = field(default_factory=dict)
    left_out: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of prediction file, and how a row of it is read.

    `needs` says what it is recognised by, `id_key` and `answer_key` are its own names for the two. Rows of a
    format without an `id_key` are named by their images.
    """

    name: str
    title: str
    needs: str
    matches: Callable[[frozenset[str]], bool]
    containers: tuple[Container, ...]
    id_key: str
    answer_key: str
    read: Callable[[Mapping[str, Any]], Row]


def image_path(found: Any) -> str | None:
    """The path of an image as chat formats write it: text, or an object with a path; not its bytes."""
    if isinstance(found, list):
        return image_path(found[0]) if found else None
    if isinstance(found, dict):
        return image_path(found.get("path") or found.get("url"))
    # Longer than any path: base64 without a prefix.
    inline = isinstance(found, str) and (found.startswith(("data:", "<<<")) or len(found) > 4096)
    return found if isinstance(found, str) and found and not inline else None

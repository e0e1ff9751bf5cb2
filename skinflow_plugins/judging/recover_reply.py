"""The reply that names diagnoses: its schema, and its strict reading."""

from __future__ import annotations

from typing import Any

from skinflow_plugins.diagnosis.folding import LONGEST_NAME
from skinflow_plugins.judging.reply import Unreadable, object_schema, read_object


def recover_schema(most: int) -> dict[str, Any]:
    """The JSON schema of a reply that names up to so many diagnoses."""
    listed = {"type": "array", "items": {"type": "string"}, "minItems": 0, "maxItems": most}
    return object_schema({"diagnoses": listed})


def read_recovered(text: str, most: int) -> list[str]:
    """The diagnoses named, the most likely first; an empty list where the judge found none.

    `Unreadable` unless the reply is exactly what was asked for: see `read_object`. More names than `most`, an
    empty or repeated one, or one longer than a name can be makes the whole reply unreadable.
    """
    found = read_object(text)
    if set(found) != {"diagnoses"} or not isinstance(found["diagnoses"], list):
        raise Unreadable("expected an object with one list 'diagnoses'")
    named: list[str] = []
    for entry in found["diagnoses"]:
        if not isinstance(entry, str) or not entry.strip():
            raise Unreadable(f"found {str(entry)[:40]!r} among the diagnoses; expected a name")
        name = entry.strip()
        if len(name) > LONGEST_NAME:
            raise Unreadable(
                f"found a diagnosis of {len(name)} characters; a name has {LONGEST_NAME} at most"
            )
        if name.casefold() in (each.casefold() for each in named):
            raise Unreadable(f"found {name[:40]!r} twice")
        named.append(name)
    if len(named) > most:
        raise Unreadable(f"found {len(named)} diagnoses; expected up to {most}")
    return named

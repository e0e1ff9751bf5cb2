"""The reply that describes an image by a schema of fields: its schema, and its strict reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.judging.reply import Unreadable, object_schema, read_object


def describe_schema(fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The JSON schema of a reply with a list of values for every field."""
    return object_schema(
        {
            field: {
                "type": "array",
                "items": {"type": "string", "enum": list(values)},
                "minItems": 0,
                "maxItems": len(values),
            }
            for field, values in fields.items()
        }
    )


def read_described(text: str, fields: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The values by field, in the order of `fields`; a field without any is left out.

    `Unreadable` unless the reply is exactly what was asked for: see `read_object`. A field that is missing or
    not of the schema, a value that its field does not have, spelled as there, or one that stands twice makes
    the whole reply unreadable; and so does a reply that says nothing at all.
    """
    found = read_object(text)
    if missing := [field for field in fields if field not in found]:
        raise Unreadable(f"found no field {missing[0]!r}")
    if strange := [field for field in found if field not in fields]:
        raise Unreadable(f"found the field {strange[0][:40]!r}, which is not of the schema")
    named: dict[str, list[str]] = {}
    for field, values in fields.items():
        given = found[field]
        if not isinstance(given, list):
            raise Unreadable(f"found no list under {field!r}")
        for value in given:
            if not isinstance(value, str) or value not in values:
                raise Unreadable(f"found {str(value)[:40]!r} under {field!r}, which the schema does not have")
        if len(set(given)) != len(given):
            raise Unreadable(f"found a value twice under {field!r}")
        if given:
            named[field] = given
    if not named:
        raise Unreadable("every field is empty")
    return named

"""What an answer says as a caption: the fields of a schema with their values. Structured forms only."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skinflow_plugins.diagnosis.answers import answer_text
from skinflow_plugins.diagnosis.folding import LONGEST_NAME, strip_marker
from skinflow_plugins.diagnosis.lists import SEMICOLON
from skinflow_plugins.diagnosis.structured import read_json

_TRIM = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019.,"


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as read: the schema's values by field, and apart from them all that is not of the schema.

    `named` has the schema's own spelling. `unknown_values` are distinct values that their field does not
    have, `unknown_fields` the names before a colon that are no field, `stray` the parts without a colon, and
    `repeated` the fields that stand more than once (their values are united), and `doubled` such values.
    """

    named: dict[str, list[str]]
    unknown_values: dict[str, list[str]]
    unknown_fields: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()


def parse_caption(text: str, fields: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The schema's values that the answer names, by field; see `read_caption` for the rest of the answer."""
    return read_caption(text, fields).named


def read_caption(text: str, fields: Mapping[str, Sequence[str]]) -> Caption:
    """The answer `field: value, value; field: value` (or one field a line, or a JSON object), sorted out.

    `fields` is the caption schema: each field with the values it may take. Case, white space, underscores
    and list markers do not matter; everything else must match exactly.
    """
    schema = {value_key(field): field for field in fields}
    named: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    strangers: list[str] = []
    stray: list[str] = []
    repeated: list[str] = []
    for name, values in _clauses(answer_text(text)):
        field = schema.get(value_key(strip_marker(name.strip(_TRIM))))
        if values is None:
            stray.append(name.strip())
        elif field is None:
            strangers.append(name.strip())
        else:
            if field in named:
                repeated.append(field)
            known = {value_key(value): value for value in fields[field]}
            right, wrong = named.setdefault(field, []), unknown.setdefault(field, [])
            for key in _value_keys(values, known):
                if key in known:
                    right.append(known[key])
                else:
                    wrong.append(key)
    return Caption(
        {field: list(dict.fromkeys(values)) for field, values in named.items()},
        {field: list(dict.fromkeys(values)) for field, values in unknown.items() if values},
        tuple(strangers),
        tuple(stray),
        tuple(dict.fromkeys(repeated)),
        tuple(value for values in named.values() for value, n in Counter(values).items() if n > 1),
    )


def write_caption(values: Mapping[str, Sequence[str]]) -> str:
    """Values by field as the answer that reads back as the same."""
    return "; ".join(f"{field}: {', '.join(named)}" for field, named in values.items() if named)


def _clauses(text: str) -> Iterable[tuple[str, str | list[str] | None]]:
    """Every (field name, its values as text or list; None where there is no colon) of a caption."""
    found = read_json(text)
    if isinstance(found, dict):
        for name, value in found.items():
            values = value if isinstance(value, list) else [value]
            yield name, [str(each) for each in values if each is not None]
        return
    for clause in SEMICOLON.split(text):
        if clause.strip():
            name, colon, listed = clause.partition(":")
            yield name, listed if colon else None


def _value_keys(values: str | list[str], known: Mapping[str, str]) -> list[str]:
    if isinstance(values, str):
        whole = value_key(values)
        if whole in known:
            return [whole]
        values = values.split(",")
    return [key for key in map(value_key, values) if key]


def value_key(text: str) -> str:
    """A field or value of a caption in the spelling in which it is compared."""
    return _short_key(text) if len(text) <= LONGEST_NAME else text[:LONGEST_NAME].lower()


@functools.lru_cache(maxsize=16384)
def _short_key(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return " ".join(text.split()).strip(_TRIM)

"""Ranked lists in JSON and in Markdown tables, as entries: a text, and the confidence beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

Entry = tuple[str, float | None]
EMPTY: Entry = ("", None)

_FENCED = re.compile(r"```[a-z]*\s?(.*?)(?:```|\Z)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+|\d+")
_RANK_KEY = re.compile(
    r"(?:rank|top|diagnosis|dx|prediction|option|choice|candidate|differential)?[ _-]?(\d{1,18})",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s*(\d{1,3}(?:\.\d{1,9})?)\s*%\s*")
_DECIMAL = re.compile(r"\s*[01]?\.\d{1,9}\s*")
_RULE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*")  # the line between a table's head and its rows
_DEEPEST = 4  # objects within objects

# The last word of a key that holds diagnoses, what such a key must not say, and what puts it behind others.
_NAMED = frozenset(
    (
        *("diagnosis", "diagnoses", "dx", "ddx", "differential", "differentials", "candidate", "candidates"),
        *("condition", "conditions", "disease", "diseases", "disorder", "disorders"),
        *("name", "names", "label", "labels", "answer", "answers", "prediction", "predictions"),
    )
)
_DENIED = frozenset(
    (
        *("not", "no", "non", "never", "without", "against", "less", "least", "unlikely"),
        *("exclude", "excluded", "ruled", "rejected"),
    )
)
_LATER = frozenset(
    ("differential", "differentials", "ddx", "alternative", "alternatives", "other", "others", "secondary")
)
_CONFIDENCE = frozenset(
    ("confidence", "conf", "probability", "prob", "p", "likelihood", "certainty", "score")
)


def read_json(text: str) -> Any:
    """The JSON list or object that the text is, or that its last code fence holds; else None.

    More lines may follow it.
    """
    if "```" in text:
        blocks = _FENCED.findall(text)
        found = _parse(blocks[-1].strip()) if blocks else None
        if found is not None:
            return found
    return _parse(text)


def _parse(text: str) -> Any:
    if text[:1] not in ("[", "{"):
        return None
    try:
        found, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = text[end:]
    return found if not rest.strip() or rest.lstrip(" \t\r")[:1] == "\n" else None


_DECODER = json.JSONDecoder()


def json_entries(value: Any, deep: int = 0) -> list[Entry] | str | None:
    """The ranked entries that a JSON value lists; a string that is itself to be read as a list; else None.

    Read are lists of names, lists of objects with a field such as `diagnosis`, objects whose keys are ranks
    or diagnoses, and objects with fields such as `diagnosis` and `differential`. Other fields are not read.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return _in_rank_order(value)
    if not isinstance(value, dict) or not value or deep > _DEEPEST:
        return None
    ranks = [_RANK_KEY.fullmatch(key) for key in value]
    if all(ranks) and not any(isinstance(each, list) for each in value.values()):
        numbered = sorted(
            zip((int(rank[1]) for rank in ranks if rank), value.values(), strict=True), key=_first
        )
        return [_entry(each) for _, each in numbered]
    if all(_is_measure(each) for each in value.values()):
        return [(key if said else "", _as_confidence(said)) for key, said in value.items()]
    fields = [(key, each) for key, each in value.items() if names_diagnoses(key)]
    if not fields and len(value) == 1:
        (only,) = value
        return None if _DENIED & _words(only) else json_entries(value[only], deep + 1)
    fields.sort(key=lambda field: bool(_LATER & _words(field[0])))
    if len(fields) == 1 and not isinstance(fields[0][1], str):
        return _beside(json_entries(fields[0][1], deep + 1), value)
    if len(fields) == 1 and len(value) == 1:
        return str(fields[0][1])
    return _of_fields(fields, value)


def _beside(entries: list[Entry] | str | None, whole: dict[str, Any]) -> list[Entry] | str | None:
    """The entries with the list of confidences that stands beside them in the object, if there is one."""
    if not isinstance(entries, list):
        return entries
    for key, said in whole.items():
        there = isinstance(said, list) and _CONFIDENCE & _words(key)
        if there and len(said) == len(entries) and all(map(_is_measure, said)):
            return [(name, _as_confidence(each)) for (name, _), each in zip(entries, said, strict=True)]
    return entries


def _of_fields(fields: Sequence[tuple[str, Any]], whole: dict[str, Any]) -> list[Entry]:
    """The entries of an object with several fields; a confidence beside them is the first entry's."""
    found: list[Entry] = []
    for _, each in fields:
        if isinstance(each, list):
            found.extend(_in_rank_order(each))
        elif isinstance(each, str):
            found.append((each, None if found else _confidence_beside(whole)))
        else:
            found.append(_entry(each))
    return found


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


def _in_rank_order(values: list[Any]) -> list[Entry]:
    ranks = [each.get("rank") if isinstance(each, dict) else None for each in values]
    if all(type(rank) is int for rank in ranks) and len(set(ranks)) == len(ranks):
        values = [each for _, each in sorted(zip(ranks, values, strict=True), key=_first)]  # type: ignore[arg-type]
    return [_entry(each) for each in values]


def _entry(value: Any) -> Entry:
    """One rank: a string, or an object with the name in one of its fields; anything else is void."""
    if isinstance(value, str):
        return value, None
    if not isinstance(value, dict):
        return EMPTY
    if len(value) == 1:
        ((key, said),) = value.items()
        if _is_measure(said):
            return (key if said else ""), _as_confidence(said)
    fields = [(key, each) for key, each in value.items() if isinstance(each, str) and names_diagnoses(key)]
    if not fields:
        return EMPTY
    name = min(fields, key=lambda field: bool(_LATER & _words(field[0])))[1]
    return name, _confidence_beside(value)


def names_diagnoses(key: str) -> bool:
    """Whether a key of a JSON object holds diagnoses: `diagnosis`, `top_diagnoses`, but not `ruled_out`."""
    words = [word.lower() for word in _WORD.findall(key[:80]) if not word.isdigit()]
    return bool(words) and words[-1] in _NAMED and not _DENIED.intersection(words)


def _words(key: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(key[:80])}


def _confidence_beside(fields: dict[str, Any]) -> float | None:
    for key, value in fields.items():
        if _CONFIDENCE & _words(key) and _is_measure(value):
            return _as_confidence(value)
    return None


def _is_measure(value: Any) -> bool:
    return isinstance(value, (int, float)) or (
        isinstance(value, str) and (_PERCENT.fullmatch(value) or _DECIMAL.fullmatch(value)) is not None
    )


def _as_confidence(value: Any) -> float | None:
    """A number in [0, 1] or a percentage as a confidence; None for what is neither, or is true or false."""
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value)
        decimal = float(value) if _DECIMAL.fullmatch(value) else math.nan
        number = float(found[1]) / 100 if found else decimal
    elif isinstance(value, bool) or abs(value) > 100:  # before `float`, which fails on huge integers
        return None if value else 0.0
    else:
        number = float(value) / 100 if value > 1 else float(value)
    return number if 0 <= number <= 1 else None


def table_entries(lines: Sequence[str]) -> list[Entry] | None:
    """The entries of a Markdown table's column of diagnoses; [] without one; None where there is no table."""
    rows = [line for line in lines if line.lstrip().startswith("|")]
    if len(rows) < 2 or "-" not in rows[1] or not _RULE.fullmatch(rows[1]):
        return None
    head = [_words(cell) for cell in _cells(rows[0])]
    names = next((i for i, words in enumerate(head) if words & _NAMED and not words & _DENIED), None)
    if names is None:
        return []
    measure = next((i for i, words in enumerate(head) if words & _CONFIDENCE), None)
    return list(_rows(rows[2:], names, measure))


def _rows(rows: Iterable[str], names: int, measure: int | None) -> Iterable[Entry]:
    for row in rows:
        cells = _cells(row)
        said = cells[measure] if measure is not None and measure < len(cells) else ""
        confidence = _as_confidence(said) if said else None
        yield (cells[names] if names < len(cells) and confidence != 0 else ""), confidence


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]

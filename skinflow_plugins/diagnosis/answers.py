"""What a completion says: a ranked list of diagnoses, or the fields of a caption. Structured forms only.

An answer is read, never searched: a name counts only where it stands as an item of the list, or as a value
of a field.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.diagnosis.folding import LONGEST_NAME, doubtful, strip_marker

MOST_WORDS = 8  # of one item; a longer one is a sentence and not a name

_ANSWER = re.compile(r"<answer>", re.IGNORECASE)
_ANSWER_END = re.compile(r"</answer>", re.IGNORECASE)
_THINK = re.compile(r"<think>", re.IGNORECASE)
_THINK_END = re.compile(r"</think>", re.IGNORECASE)
_FENCE = re.compile(r"```[a-z]*", re.IGNORECASE)
_LIST_LINE = re.compile(r"\s*(?:\(\d{1,3}\)|#?\d{1,3}[.):](?!\d)|[-*+\u2022\u2013\u2014]\s)")
_INLINE_SECOND = re.compile(r"\s\(?2[.)]\s")
_INLINE_NUMBER = re.compile(r"(?:^|\s)\(?\d{1,2}[.)]\s")
_SEMICOLON = re.compile(r";[^\S\n]*\n?|\n+")
_TRIM = " \t\r\n*_`\"'\u201c\u201d\u2018\u2019.,"


def answer_text(text: str) -> str:
    """The part of a completion that is its answer.

    That is what follows the last `</think>`, and in it the last `<answer>` block where there is one. Thinking
    that never ends has no answer after it.
    """
    ends = list(_THINK_END.finditer(text))
    if ends:
        text = text[ends[-1].end() :]
    elif _THINK.search(text):
        return ""
    blocks = list(_ANSWER.finditer(text))
    if blocks:
        text = _ANSWER_END.split(text[blocks[-1].end() :], maxsplit=1)[0]
    return text.strip()


def parse_answer(text: str, limit: int, *, known: Callable[[str], bool] | None = None) -> list[str]:
    """The first `limit` items of a ranked list, each at the rank where it was written.

    Reads numbered and bulleted lists, JSON lists, and lists by semicolon, by line or by comma (the first of
    these separators that occurs is the one), within an `<answer>` block or bare. An item that is empty,
    longer than eight words, negated or hedged is void: it becomes "" and keeps its rank, so that hedging
    never moves another item up. Void items at the end are dropped, so an answer without any readable item
    gives []. An item that is itself `known`, such as a taxonomy's own name with a comma or an "or", is never
    void and never split.
    """
    pieces = _pieces(answer_text(text), limit, known)[: max(limit, 0)]
    items = [_item(piece, known) for piece in pieces]
    while items and not items[-1]:
        items.pop()
    return items


def _pieces(text: str, limit: int, known: Callable[[str], bool] | None) -> Sequence[str]:
    found = _json(text)
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if isinstance(found, list):
        return [piece if isinstance(piece, str) else "" for piece in found]
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if _LIST_LINE.match(line)]
    if len(marked) > 1:
        return marked
    if marked:
        text = marked[0]
        if ";" not in text and _INLINE_SECOND.search(text):
            return _INLINE_NUMBER.split(text)[1:]
        if ";" not in text:
            return [text]
    if ";" in text:
        return _SEMICOLON.split(text, maxsplit=max(limit, 0))
    if len(lines) > 1:
        return lines
    if "," not in text or (known is not None and len(text) <= LONGEST_NAME and known(text)):
        return [text]
    return text.split(",")


def _item(piece: str, known: Callable[[str], bool] | None) -> str:
    item = _trim(strip_marker(_trim(piece)))
    if known is not None and 0 < len(item) <= LONGEST_NAME and known(item):
        return item
    return "" if len(item) > LONGEST_NAME or len(item.split()) > MOST_WORDS or doubtful(item) else item


def _trim(text: str) -> str:
    return text.strip(_TRIM)


def _json(text: str) -> Any:
    """The JSON list or object that the text is, with or without a code fence; else None."""
    bare = _FENCE.sub("", text).strip() if text.startswith("```") else text
    if bare[:1] not in ("[", "{"):
        return None
    try:
        return json.loads(bare)
    except (ValueError, RecursionError):
        return None


def write_ranked_list(names: Iterable[str]) -> str:
    """Names as the answer that reads back as the same list: joined by semicolons."""
    listed = list(names)
    alone = len(listed) == 1 and "," in listed[0]  # a comma would be read as a separator
    return f"1. {listed[0]}" if alone else "; ".join(listed)


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
        field = schema.get(value_key(strip_marker(_trim(name))))
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
    found = _json(text)
    if isinstance(found, dict):
        for name, value in found.items():
            values = value if isinstance(value, list) else [value]
            yield name, [str(each) for each in values if each is not None]
        return
    for clause in _SEMICOLON.split(text):
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

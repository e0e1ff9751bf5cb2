"""The reward `format`: whether an answer has exactly the form asked for. It says nothing of truth."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import parse_answer, write_ranked_list
from skinflow_plugins.diagnosis.captions import read_caption, write_caption
from skinflow_plugins.diagnosis.folding import fold, strip_marker
from skinflow_plugins.diagnosis.items import MOST_WORDS

_TAG = re.compile(r"(</?(?:think|answer)>)", re.IGNORECASE)
_WRAPPED = ["<answer>", "</answer>"]
_THOUGHT = ["<think>", "</think>", *_WRAPPED]
_NO_NAME = re.compile(r"[\[\]{}<>:|]")
_NUMBERED = re.compile(r"\s*(\d{1,3})[.)]\s+(\S.*)")


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    if options["form"] == "ranked_list":
        return write_ranked_list([str(sample.get("diagnosis", "psoriasis"))])
    return write_caption({name: values[:1] for name, values in options["fields"].items()})


@reward("format", reference=_reference)
def answer_form(
    answer: str,
    *,
    form: Literal["caption", "ranked_list"],
    list_length: int = 6,
    fields: Mapping[str, Sequence[str]] | None = None,
    **sample: Any,
) -> Score:
    """1 when the answer has exactly the form asked for, else 0.

    A ranked list is 1 to `list_length` different names, joined by semicolons or on lines numbered from 1;
    each has at most eight words and is neither negated nor hedged. A caption is `field: value` for every
    field of the schema `fields`, each once and with one or more different values of its schema, joined by
    semicolons or on lines. Either may stand in one `<answer>` block after one `<think>` block; nothing else
    may stand beside it.
    """
    bare = _unwrapped(answer)
    if bare is None:
        return Score(0.0, None, "tags are nested, repeated, left open, or text stands beside them")
    if form == "ranked_list":
        if list_length < 1:
            raise ValueError(f"option list_length must be at least 1, found {list_length}")
        return _ranked_list(bare, list_length)
    if form != "caption":
        raise ValueError(f"option form must be 'caption' or 'ranked_list', found {form!r}")
    if not fields:
        raise ValueError("option fields is needed for the form 'caption': the caption schema")
    return _caption(bare, fields)


def _unwrapped(answer: str) -> str | None:
    """The text within the one `<answer>` block, or the whole text without tags; None for any other use."""
    parts = _TAG.split(answer)  # text and tags by turns
    tags = [tag.lower() for tag in parts[1::2]]
    if not tags:
        return answer
    if tags == _WRAPPED and not (parts[0] + parts[4]).strip():
        return parts[2]
    if tags == _THOUGHT and not (parts[0] + parts[4] + parts[8]).strip():
        return parts[6]
    return None


def _ranked_list(text: str, list_length: int) -> Score:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return Score(0.0, None, "the answer is empty")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        if [int(line[1]) for line in numbered if line] != list(range(1, len(lines) + 1)):
            return Score(0.0, None, "the lines are not numbered 1, 2, 3, ...")
        names = [line[2] for line in numbered if line]
        if len(names) > 1 and any(";" in name for name in names):
            return Score(0.0, None, "semicolons within numbered lines")
    elif len(lines) > 1:
        return Score(0.0, None, "several lines that are not a numbered list")
    else:
        names = lines[0].split(";")
        if len(names) == 1 and "," in names[0]:
            return Score(0.0, None, "commas where semicolons are asked for")
    if len(names) > list_length:
        return Score(0.0, None, f"{len(names)} items, at most {list_length} are asked for")
    # Each name is read as the only line of a numbered list, so that a comma within it is no separator.
    read = ["".join(parse_answer(f"1. {name.strip()}", 1)) for name in names]
    for place, (name, item) in enumerate(zip(names, read, strict=True), 1):
        if not item:
            return Score(0.0, None, f"item {place} is empty, hedged or has more than {MOST_WORDS} words")
        if name.strip() != item or strip_marker(item) != item or _NO_NAME.search(item) or not fold(item):
            return Score(0.0, None, f"item {place} is not a bare name")
    if len(set(map(fold, read))) < len(read):
        return Score(0.0, read, "an item stands twice")
    return Score(1.0, read, f"a list of {len(read)}")


def _caption(text: str, fields: Mapping[str, Sequence[str]]) -> Score:
    if text.lstrip()[:1] in ("{", "[", "`"):
        return Score(0.0, None, "not in the form `field: value`")
    caption = read_caption(text, fields)
    missing = [name for name in fields if not caption.named.get(name)]
    problems = [
        ("not a field", caption.unknown_fields),
        ("no `field: value`", caption.stray),
        ("more than once", caption.repeated + caption.doubled),
        ("not a value of its field", [f"{k}: {v[0]}" for k, v in caption.unknown_values.items()]),
        ("missing or without a value", missing),
    ]
    for problem, found in problems:
        if found:
            return Score(0.0, caption.named, f"{problem}: {_short(found[0])}")
    return Score(1.0, caption.named, "every field once")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."

"""The reward `format`: whether an answer has exactly the form asked for. It says nothing of truth."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import plain_text, write_ranked_list
from skinflow_plugins.diagnosis.captions import read_caption, write_caption
from skinflow_plugins.diagnosis.confidences import ROUNDING, write_with_confidences
from skinflow_plugins.diagnosis.folding import fold, strip_marker
from skinflow_plugins.diagnosis.items import MOST_WORDS, read_item

_TAG = re.compile(r"(</?(?:think|answer)>)", re.IGNORECASE)
_WRAPPED = ["<answer>", "</answer>"]
_THINK = re.compile(r"<think>", re.IGNORECASE)
_THOUGHT = ["<think>", "</think>", *_WRAPPED]
_NO_NAME = re.compile(r"[\[\]{}<>:|]|\s\(?\d{1,2}[.)]\s")  # nor a number in the middle of a line
_NUMBERED = re.compile(r"\s*(\d{1,3})[.)]\s+(\S.*)")
_NUMBER = r"(?:0\.\d{1,9}|1\.0{1,9}|\d{1,3}(?:\.\d{1,9})?\s?%)"
_CONFIDENCE = re.compile(rf"(?:\s\({_NUMBER}\)|:\s{_NUMBER})\s*\Z")
FORMS = ("caption", "ranked_list", "described")


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    name = str(sample.get("diagnosis", "psoriasis"))
    listed = (
        write_with_confidences([(name, 1.0)]) if options.get("confidences") else write_ranked_list([name])
    )
    if options["form"] == "ranked_list":
        return listed
    caption = write_caption({name: values[:1] for name, values in options["fields"].items()})
    return caption if options["form"] == "caption" else f"<think>{caption}</think>\n<answer>{listed}</answer>"


@reward("format", reference=_reference, content=False)
def answer_form(
    answer: str,
    *,
    form: Literal["caption", "ranked_list", "described"],
    list_length: int = 6,
    confidences: bool = False,
    fields: Mapping[str, Sequence[str]] | None = None,
    **sample: Any,
) -> Score:
    """1 when the answer has exactly the form asked for, else 0.

    A ranked list is 1 to `list_length` different names, joined by semicolons or on lines numbered from 1;
    each has at most eight words and is neither negated nor hedged. With `confidences` each name is followed
    by its probability, `name (0.7)`, `name (20%)` or `name: 0.7`, and they add up to at most 1. A caption is
    `field: value` for every field of the schema `fields`, each once and with one or more different values of
    its schema, joined by semicolons or on lines. Either may stand in one `<answer>` block after one `<think>`
    block; nothing else may stand beside it.

    A described answer is a caption and then a ranked list in an `<answer>` block; the caption stands in a
    `<think>` block, or before the other without tags.
    """
    if form not in FORMS:
        raise ValueError(f"option form must be 'caption', 'ranked_list' or 'described', found {form!r}")
    if list_length < 1:
        raise ValueError(f"option list_length must be at least 1, found {list_length}")
    if form != "ranked_list" and not fields:
        raise ValueError(f"option fields is needed for the form {form!r}: the caption schema")
    parts = _parts(answer)
    if parts is None:
        return Score(0.0, None, "tags are nested, repeated, left open, or text stands beside them")
    before, bare = parts
    if form == "described":
        if not before.strip():
            return Score(0.0, None, "no description stands before the answer")
        described = _caption(before, fields or {})
        if not described.value:
            return Score(0.0, described.read, f"the description: {described.why}")
        listed = _ranked_list(bare, list_length, confidences)
        return Score(listed.value, [described.read, listed.read], f"a description and {listed.why}")
    if before.strip() and not _THINK.search(answer):
        return Score(0.0, None, "text stands before the answer's tags")
    return (
        _ranked_list(bare, list_length, confidences)
        if form == "ranked_list"
        else _caption(bare, fields or {})
    )


def _parts(answer: str) -> tuple[str, str] | None:
    """What stands before the answer, and the answer; None where the tags are not used so.

    Before it is the text of the one `<think>` block, or untagged text; without tags there is nothing before.
    """
    parts = _TAG.split(answer)  # text and tags by turns
    tags = [tag.lower() for tag in parts[1::2]]
    if not tags:
        return "", answer
    if tags == _WRAPPED and not parts[4].strip():
        return parts[0], parts[2]
    if tags == _THOUGHT and not (parts[0] + parts[4] + parts[8]).strip():
        return parts[2], parts[6]
    return None


def _ranked_list(text: str, list_length: int, confidences: bool) -> Score:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return Score(0.0, None, "the answer is empty")
    if plain_text(text) != text.strip():
        return Score(0.0, None, "it holds control characters, unseen ones, full-width ones or tokens")
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        if [int(line[1]) for line in numbered if line] != list(range(1, len(lines) + 1)):
            return Score(0.0, None, "the lines are not numbered 1, 2, 3, ...")
        names = [line[2] for line in numbered if line]
        if any(";" in name for name in names):
            return Score(0.0, None, "semicolons within numbered lines")
    elif len(lines) > 1:
        return Score(0.0, None, "several lines that are not a numbered list")
    else:
        names = lines[0].split(";")
        if len(names) == 1 and "," in names[0]:
            return Score(0.0, None, "commas where semicolons are asked for")
    if len(names) > list_length:
        return Score(0.0, None, f"{len(names)} items, at most {list_length} are asked for")
    if confidences:
        stated = [_CONFIDENCE.search(name) for name in names]
        if not all(stated):
            place = stated.index(None) + 1
            return Score(0.0, None, f"item {place} has no confidence, such as `name (0.7)`")
        total = sum(_probability(found[0]) for found in stated if found)
        if total > 1 + ROUNDING:
            return Score(0.0, None, f"the confidences add up to {total:.3g}, more than 1")
        names = [name[: found.start()] for name, found in zip(names, stated, strict=True) if found]
    names = [name.strip() for name in names]
    read = [read_item(name)[0] for name in names]
    for place, (name, item) in enumerate(zip(names, read, strict=True), 1):
        if not item:
            return Score(0.0, None, f"item {place} is empty, hedged or has more than {MOST_WORDS} words")
        if name != item or strip_marker(item) != item or _NO_NAME.search(item) or not fold(item):
            return Score(0.0, None, f"item {place} is not a bare name")
    if len(set(map(fold, read))) < len(read):
        return Score(0.0, read, "an item stands twice")
    return Score(1.0, read, f"a list of {len(read)}")


def _probability(text: str) -> float:
    number = float(text.strip(" ():%"))
    return number / 100 if "%" in text else number


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

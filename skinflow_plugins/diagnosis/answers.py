"""What a completion says: a ranked list of diagnoses. Structured forms only.

An answer is read, never searched: a name counts only where it stands as an item of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from skinflow_plugins.diagnosis.abstention import is_abstention
from skinflow_plugins.diagnosis.items import LONGEST_ITEM, Known, read_item, without_lead, without_marker
from skinflow_plugins.diagnosis.lists import pieces
from skinflow_plugins.diagnosis.structured import Entry, json_entries, read_json, table_entries

_ANSWER = re.compile(r"<answer\s{0,3}>", re.IGNORECASE)
_ANSWER_END = re.compile(r"</answer\s{0,3}>", re.IGNORECASE)
_CUT_OFF = re.compile(r"</?[a-z]{0,9}\Z", re.IGNORECASE)  # a tag whose end was not written any more
_THINK = re.compile(r"<think>", re.IGNORECASE)
_THINK_END = re.compile(r"</think>", re.IGNORECASE)
MOST_ITEMS = 100  # that are searched for an abstention
_FENCE_LINE = re.compile(r"^[^\S\n]*```[a-z]*[^\S\n]*$", re.IGNORECASE | re.MULTILINE)
_TOKEN = re.compile(r"<\|[^<>|\s]{1,40}\|>|<image>|</s>(?=\s*\Z)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ENUMERATION = re.compile(r"(\d)\u3001")

# Characters that cannot be seen, and the full-width forms of what can be typed. Letters are left to `fold`.
_PLAIN: dict[int, str | None] = {
    **dict.fromkeys([0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)]),
    **dict.fromkeys([0xFE0E, 0xFE0F, 0xFEFF]),
    **{0xFF00 + i: chr(0x20 + i) for i in range(1, 0x5F)},
    **{0x2460 + i: f"{i + 1}. " for i in range(20)},  # numbers in circles
    0x20E3: ".",  # the box around a number
    0x3000: " ",
    0x3001: ",",
    0x3002: ".",
}


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """A ranked list as it was read.

    `items` are the names by rank, "" where an item is void; void items at the end are dropped. `confidences`
    stand beside them, each in [0, 1] or None. `beyond_limit` counts the items that came too late to be read,
    `void` those among the first ones that have text but give no name.
    """

    items: list[str]
    confidences: list[float | None]
    beyond_limit: int = 0
    void: int = 0


def answer_text(text: str) -> str:
    """The part of a completion that is its answer.

    That is what follows the last `</think>`, and in it the last `<answer>` block where there is one. Thinking
    that never ends has no answer after it.
    """
    if "<" not in text:
        return text.strip()
    ends = list(_THINK_END.finditer(text))
    if ends:
        text = text[ends[-1].end() :]
    if _THINK.search(text):
        return ""
    blocks = list(_ANSWER.finditer(text))
    if blocks:
        text = text[blocks[-1].end() :]
    return _CUT_OFF.sub("", _ANSWER_END.split(text, maxsplit=1)[0]).strip()


def parse_answer(text: str, limit: int, *, known: Known | None = None) -> list[str]:
    """The first `limit` items of a ranked list, each at the rank where it was written; see `read_answer`."""
    return read_answer(text, limit, known=known).items


def read_answer(text: str, limit: int, *, known: Known | None = None) -> ReadAnswer:
    """The first `limit` items of a ranked list, each at the rank where it was written, and their confidence.

    Reads numbered and bulleted lists, JSON, Markdown tables, and lists by semicolon, by line or by comma
    (the first of these separators that occurs is the one), within an `<answer>` block or bare. Where lines
    are numbered, the others are explanations, and so are deeper bullets. For one item see `read_item`: a
    void one becomes "" and keeps its rank, so that hedging never moves another item up. An item that is
    itself `known`, such as a taxonomy's own name with a comma or an "or", is never void or split.
    """
    entries = _entries(answer_text(text), known)
    limit = max(limit, 0)
    items: list[str] = []
    confidences: list[float | None] = []
    void = 0
    for piece, beside in entries[:limit]:
        name, said = read_item(piece, known)
        confidence = said if beside is None else beside
        if confidence == 0:
            name = ""
        void += not name and not piece.isspace() and piece != ""
        items.append(name)
        confidences.append(confidence if name else None)
    while items and not items[-1]:
        items.pop()
    beyond = sum(1 for piece, _ in entries[limit:] if piece and not piece.isspace())
    return ReadAnswer(items, confidences[: len(items)], beyond, void)


def abstains(text: str) -> bool:
    """Whether the whole answer says that it gives no diagnosis: "unknown", "I don't know", "not sure"."""
    answer = answer_text(text)
    if is_abstention(answer):
        return True
    said = [piece for piece, _ in _entries(answer, None) if piece.strip()]
    return len(said) == 1 and is_abstention(without_lead(without_marker(said[0])))


def abstains_beside(text: str, *, known: Known | None = None) -> bool:
    """Whether one of several items of the list says that there is no diagnosis: "melanoma; unknown".

    The first 100 items are looked at; one that is itself `known` is a name, whatever it sounds like.
    """
    for piece, _ in _entries(answer_text(text), known)[:MOST_ITEMS]:
        said = without_lead(without_marker(piece[: LONGEST_ITEM + 1]))
        if is_abstention(said) and not (known is not None and known(said)):
            return True
    return False


def _entries(text: str, known: Known | None) -> list[Entry]:
    text = plain_text(text)
    if text[:1] in ("[", "{") or "```" in text:
        value = read_json(text)
        found = json_entries(value)
        if isinstance(found, list):
            return found
        if value is not None and found is None:
            return []
        text = _FENCE_LINE.sub("", text).strip() if found is None else plain_text(found)
    lines = text.splitlines()
    if "|" in text:
        rows = table_entries(lines)
        if rows is not None:
            return rows
    return [(piece, None) for piece in pieces(text, lines, known)]


def plain_text(text: str) -> str:
    """The text without tokens of a chat template, control characters and what cannot be seen."""
    if "<" in text:
        text = _TOKEN.sub("", text)
    if not text.isascii():
        text = _ENUMERATION.sub(r"\1. ", text).translate(_PLAIN)
    return _CONTROL.sub(" ", text).strip()


def write_ranked_list(names: Iterable[str]) -> str:
    """Names as the answer that reads back as the same list: joined by semicolons."""
    listed = list(names)
    alone = len(listed) == 1 and "," in listed[0]  # a comma would be read as a separator
    return f"1. {listed[0]}" if alone else "; ".join(listed)

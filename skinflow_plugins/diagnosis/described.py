"""Answers that describe and diagnose: where the description ends and the answer begins."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from skinflow_plugins.diagnosis.answers import answer_text
from skinflow_plugins.diagnosis.structured import names_diagnoses, read_json

_THINK_END = re.compile(r"</think>", re.IGNORECASE)
_ANSWER = re.compile(r"<answer\s{0,3}>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:think|answer)\s{0,3}>", re.IGNORECASE)
_DESCRIBES = frozenset(("description", "caption", "findings", "morphology", "think", "thinking"))


class Described(NamedTuple):
    """The two parts of an answer; either may be ""."""

    description: str
    answer: str


def read_described(text: str) -> Described:
    """An answer as its description and its diagnosis.

    The description is what stands before the last `<answer>` block, or before the last `</think>` where there
    is no such block; the answer is what `answer_text` finds. A JSON object is taken apart by its keys: those
    that hold diagnoses are the answer, and the others, or what stands under `description`, `caption`,
    `findings` or `morphology`, the description. Anything else has no description.
    """
    answer = answer_text(text)
    if not answer:
        return Described("", "")
    ends = [found.end() for found in _THINK_END.finditer(text)]
    blocks = [found.start() for found in _ANSWER.finditer(text, ends[-1] if ends else 0)]
    if blocks or ends:
        before = text[: blocks[-1] if blocks else ends[-1]]
        return Described(_TAG.sub("\n", before).strip(), answer)
    return _from_json(answer)


def _from_json(text: str) -> Described:
    value = read_json(text)
    if not isinstance(value, dict):
        return Described("", text)
    named = {key: each for key, each in value.items() if names_diagnoses(key)}
    others = {key: each for key, each in value.items() if key not in named}
    if not named or not others:
        return Described("", text)
    if len(others) == 1:
        ((key, only),) = others.items()
        if key.lower() in _DESCRIBES:
            others = only
    told = others if isinstance(others, str) else json.dumps(others)
    return Described(told, json.dumps(named))

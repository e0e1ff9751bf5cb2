"""The words of a completion, as the rewards of form count them."""

from __future__ import annotations

import re

from skinflow_plugins.diagnosis.answers import plain_text

LONGEST_WORD = 24  # characters; what is longer counts as several words, or one word could hold any text

_WORD = re.compile(rf"[^\W_]{{1,{LONGEST_WORD}}}")
_TAG = re.compile(r"</?(?:think|answer)\s{0,3}>", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[;\n]|[.!?](?=\s|$)")  # one sign at a time: of a run of them the last one ends


def words_of(text: str) -> list[str]:
    """The words in lower case: runs of letters and digits. Tags and template tokens are no words."""
    return _WORD.findall(_TAG.sub(" ", plain_text(text)).lower())


def sentences_of(text: str) -> list[str]:
    """The sentences, lines and items of a list, as their words joined by spaces; empty ones are left out."""
    parts = (_WORD.findall(part) for part in _SENTENCE_END.split(_TAG.sub("\n", plain_text(text)).lower()))
    return [" ".join(part) for part in parts if part]

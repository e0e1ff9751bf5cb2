"""A text taken apart into words, in the spelling in which a vocabulary compares them."""

from __future__ import annotations

import re
import unicodedata

from skinflow_plugins.diagnosis.folding import fold

REMEMBERED = 65_536  # words

_TOKEN = re.compile(r"[^\W_]+|[.,;:!?()\n]")
_BRITISH = (
    (re.compile(r"(?<=col)our|(?<=tum)our|(?<=hum)our|(?<=od)our|(?<=vap)our"), "or"),
    (re.compile(r"(?<=[a-z]{3}l)is(?=e$|ed$|ing$|ation$)|(?<=[a-z]{3}n)is(?=e$|ed$|ing$|ation$)"), "iz"),
    (re.compile(r"^grey"), "gray"),
    (re.compile(r"(?<=cent)re(?=$|d$)|(?<=fib)re$"), "er"),
)


def tokens(text: str) -> list[str]:
    """The words of a text in lower case, and between them `. , ; : ! ? ( )` and line ends.

    Hyphens, underscores and all other signs only part words.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _TOKEN.findall(text.lower())


class _Keys(dict[str, str]):
    """Word -> its key; what was asked for before is remembered."""

    def __missing__(self, word: str) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        key = self[word] = _key(word)
        return key


KEYS = _Keys()
"""The key of every token: folded as names of diagnoses are, and British spelling as American."""


def _key(word: str) -> str:
    if not word[:1].isalnum():
        return word
    key = fold(word)
    for british, american in _BRITISH:
        key = british.sub(american, key)
    return key


def phrase(text: str) -> tuple[str, ...]:
    """The keys of the words of a text, without the signs between them."""
    return tuple(KEYS[token] for token in tokens(text) if token[0].isalnum())

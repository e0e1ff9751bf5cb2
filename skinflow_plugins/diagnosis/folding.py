"""Folding of written names: what may differ between two spellings of one diagnosis, and nothing more."""

from __future__ import annotations

import functools
import re
import unicodedata

LONGEST_NAME = 200  # characters; anything longer is a text, not a name

_MARKER = re.compile(r"\s*(?:\(\d{1,3}\)|#?\d{1,3}\s?[.):](?=\s|$|[^\d\s])|[-*+\u2022\u2013\u2014](?=\s))\s*")
_PARENTHESES = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_POSSESSIVE = re.compile(r"['\u2019\u2018\u02bc`]s?(?=\W|$)")
_WORD = re.compile(r"[^\W_]+")
_PLURALS = (
    ("omata", "oma"),
    ("nevi", "nevus"),
    ("lentigines", "lentigo"),
    ("oses", "osis"),
    ("ctases", "ctasis"),
    ("stases", "stasis"),
    ("ies", "y"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("sses", "ss"),
    ("xes", "x"),
)

# "non" is not among these: it belongs to names such as "non-neoplastic", and matching is by whole names.
_DOUBT = re.compile(
    r"\?|\br/o\b|\b(?:"
    r"not|no|nor|neither|never|cannot|isn'?t|without|absent|absence of|negative for|free of|denies|"
    r"rul(?:e|es|ed|ing) out|exclud(?:e|es|ed|ing)|instead of|rather than|other than|"
    r"possibl[ey]|probabl[ey]|likely|unlikely|maybe|perhaps|might|may be|could be|suspect(?:ed)?|"
    r"suspicious for|suspicion of|questionable|versus|vs|or|either|unclear|uncertain|unknown"
    r")\b",
    re.IGNORECASE,
)


def strip_marker(text: str) -> str:
    """The text without one leading list marker (`1.`, `2)`, `(3)`, `#4:`, `-`, `*`)."""
    found = _MARKER.match(text)
    return text[found.end() :] if found else text


def doubtful(text: str) -> bool:
    """Whether the text negates, excludes, hedges or offers a choice ("not ...", "rule out ...", "a or b")."""
    return _DOUBT.search(text.replace("\u2019", "'")) is not None


def without_parentheses(text: str) -> str:
    """The text without what stands in parentheses; unchanged where nothing else would be left."""
    bare = _PARENTHESES.sub(" ", text)
    return bare if _WORD.search(bare) else text


def parentheses(text: str) -> list[str]:
    """The texts within parentheses or brackets."""
    return [found[1:-1] for found in _PARENTHESES.findall(text)]


@functools.lru_cache(maxsize=16384)
def fold(text: str) -> str:
    """The words of a name in one agreed spelling, joined by single spaces.

    Folds case, Unicode compatibility forms and accents, British ae/oe and "tumour", plurals, possessives, a
    leading list marker, white space, hyphens and other punctuation. A question mark stays, because it is
    doubt. The words inside parentheses are kept; see `without_parentheses`.
    """
    text = unicodedata.normalize("NFKD", text.replace("\u00e6", "ae").replace("\u0153", "oe"))
    text = "".join(c for c in text if not unicodedata.combining(c)).lower()
    text = _POSSESSIVE.sub("", strip_marker(text))
    words = [_fold_word(word) for word in _WORD.findall(text)]
    return " ".join(words) + (" ?" if "?" in text else "")


def _fold_word(word: str) -> str:
    if len(word) > 4 and word.endswith("ae"):  # bullae, verrucae
        word = word[:-1]
    word = word.replace("ae", "e").replace("oe", "e").replace("tumour", "tumor")
    for plural, singular in _PLURALS:
        if word.endswith(plural):
            return word[: -len(plural)] + singular
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word

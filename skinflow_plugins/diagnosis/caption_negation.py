"""Which words of a description stand under a negation.

After NegEx (Chapman et al., Journal of Biomedical Informatics 34, 2001): words that negate what follows or
what came before, words that only look so, and what ends their reach. English only.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from skinflow_plugins.diagnosis.vocabulary_words import KEYS

REACH = 10  # words behind a negation
LONGEST_LIST = 60  # words behind a negation, over all commas of a list


def _keys(*words: str) -> frozenset[str]:
    return frozenset(KEYS[word] for word in words)


_NEXT = _keys("non")  # negates the next word alone
_BEFORE = _keys(
    *("no", "not", "without", "never", "nor", "neither", "cannot", "lack", "lacks", "lacking", "denies"),
    *("absence", "devoid", "isn", "aren", "wasn", "weren", "doesn", "don", "didn", "hasn", "haven", "lacked"),
    *("nothing", "excluding", "minus", "sparing", "spares"),
)
_WITH = {KEYS[a]: _keys(*b) for a, b in {
    "free": ("of", "from"), "negative": ("for",), "rather": ("than",), "instead": ("of",), "opposed": ("to",),
    "ruled": ("out",), "rules": ("out",), "anything": ("but",), "far": ("from",),
}.items()}  # fmt: skip
"""Words that negate what follows only before one of these."""

_AFTER = _keys(
    *("absent", "none", "lacking", "negative", "false", "nil", "excluded", "no", "not", "missing", "never"),
    *("free", "0", "spared", "unaffected", "uninvolved"),
)
"""Words that, at the end of a part of a sentence, negate what stands before them in it."""

_LOOSE = _keys("none", "absent")
"""Words that negate either way."""

_SEEN = _keys(
    *("seen", "present", "visible", "evident", "noted", "observed", "identified", "apparent", "found"),
    *(
        "there",
        "appreciated",
        "detected",
        "demonstrated",
        "palpable",
        "noticed",
        "shown",
        "described",
        "true",
    ),
)
"""Behind "not": what stands before is not there."""

_NOT = _keys("not", "cannot")
_BETWEEN = _keys("be", "been", "to", "clearly", "readily", "easily", "really", "actually")
"""Words between the two: "cannot be seen", "not clearly visible"."""

_PSEUDO = {KEYS[a]: _keys(*b) for a, b in {
    "not": ("only", "just", "merely", "without", "lacking", "infrequently", "uncommonly", "unlike"),
    "no": ("doubt",), "without": ("doubt", "question"), "none": ("but",), "nothing": ("but",),
    "neither": (), "never": ("without",),
}.items()}  # fmt: skip
_STOP = frozenset((".", ";", "!", "?", "\n", "(", ")"))
_TURN = _keys(
    *("but", "however", "although", "though", "yet", "except", "while", "whereas", "which", "whose", "where"),
    *("with", "having", "instead", "nevertheless", "nonetheless", "otherwise", "because", "since", "besides"),
)
_PLACE = _keys("on", "over", "at", "along", "around", "overlying", "involving", "affecting", "across", "near")
_ANEW = _keys(
    *("a", "an", "the", "has", "is", "are", "was", "shows", "show", "its", "their", "there", "with", "it"),
    *("they", "on", "in", "appears", "having", "some", "this", "that"),
)
"""Behind "and": what follows is said for itself."""

_OR = _keys("or", "nor")
_AND = KEYS["and"]
_NEGATING = _NEXT | _BEFORE | _AFTER | frozenset(_WITH)


def negated(keys: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """For each of the phrases from word to word, whether it is negated.

    `keys` are the words with the signs between them. A negation reaches to the end of its part of the
    sentence, over "or", over "and" unless something new begins behind it, and over commas only in a list that
    ends with "or" or "nor". A place behind it ("no scale on the elbow") is not negated.
    """
    if _NEGATING.isdisjoint(keys):
        return [False] * len(spans)
    inside = {i for start, end in spans for i in range(start, end)}
    marked = _marked(keys, inside)
    return [bool(marked[start]) for start, _ in spans]


def negates(keys: Sequence[str]) -> bool:
    """Whether any of the words may negate."""
    return not _NEGATING.isdisjoint(keys)


def negated_words(keys: Sequence[str]) -> list[bool]:
    """For each word, and each sign between the words, whether a negation reaches it."""
    if _NEGATING.isdisjoint(keys):
        return [False] * len(keys)
    return list(map(bool, _marked(keys, frozenset())))


def _marked(keys: Sequence[str], inside: AbstractSet[int]) -> bytearray:
    """1 for every word that a negation reaches; words `inside` of a phrase negate nothing."""
    marked = bytearray(len(keys))
    done = 0  # what stands before it and belongs to its part of the sentence is marked already
    for i, key in enumerate(keys):
        if key not in _NEGATING or i in inside:
            continue
        after = keys[i + 1] if i + 1 < len(keys) else "."
        if after in _PSEUDO.get(key, ()) or (i and key in _PSEUDO.get(keys[i - 1], ())):
            continue  # "not only", and both words of "not without"
        if key in _NEXT:
            marked[i + 1 : i + 2] = b"\1" * (i + 1 < len(keys))
        elif (key in _AFTER and _ends(keys, i + 1)) or (key in _NOT and _seen(keys, i + 1)):
            _mark_back(marked, keys, i, done)
            done = i
        elif key in _BEFORE or key in _LOOSE:
            _mark_on(marked, keys, i + 1)
        elif after in _WITH.get(key, ()):
            _mark_on(marked, keys, i + 2)
        elif key == "free" and i:
            marked[i - 1] = 1  # "scale-free"
    return marked


def _seen(keys: Sequence[str], i: int) -> bool:
    """Whether "seen" or the like stands at word i, or behind at most two words of `_BETWEEN`."""
    after = next((key for key in keys[i : i + 3] if key not in _BETWEEN), "")
    return after in _SEEN


def _ends(keys: Sequence[str], i: int) -> bool:
    return i >= len(keys) or keys[i] in _STOP or keys[i] == "," or keys[i] == _AND or keys[i] in _TURN


def _mark_back(marked: bytearray, keys: Sequence[str], i: int, done: int) -> None:
    """Mark what stands before word i in its part of the sentence, from word `done` on."""
    for j in range(i - 1, done - 1, -1):
        if keys[j] in _STOP or keys[j] == "," or keys[j] in _TURN:
            return
        marked[j] = 1


def _mark_on(marked: bytearray, keys: Sequence[str], start: int) -> None:
    """Mark what stands from word `start` on, as far as the negation reaches."""
    said = 0
    for j in range(start, min(start + LONGEST_LIST, len(keys))):
        key = keys[j]
        if key in _STOP or key == ":" or said == REACH:
            return
        if j > start and (key in _TURN or key in _PLACE):
            return
        if key == _AND and j + 1 < len(keys) and keys[j + 1] in _ANEW:
            return
        if key == ",":
            if not _listed(keys, j + 1):
                return
            said = 0
            continue
        said += 1
        marked[j] = 1


def _listed(keys: Sequence[str], start: int) -> bool:
    """Whether what follows a comma belongs to a list that ends with "or"."""
    words = 0
    for key in keys[start : start + LONGEST_LIST]:
        if key in _OR:
            return True
        if key in _STOP or key == ":" or key in _TURN or key in _NEGATING or words == 3:
            return False
        words = 0 if key == "," else words + 1
    return False

"""The strict reading of a written name: which concept of a taxonomy it is, if any, and how that was seen.

There is no substring, word-set, embedding or phonetic match: a reward is read by this code, and a policy
that is trained on it finds every gap. A name matches in full, after folding, or it does not match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from skinflow_plugins.diagnosis.folding import (
    LONGEST_NAME,
    doubtful,
    fold,
    parentheses,
    without_parentheses,
)

if TYPE_CHECKING:
    from skinflow_plugins.diagnosis.concept import Concept

How = Literal[
    "exact", "folded", "order", "alias", "abbreviation", "close", "ambiguous", "doubtful", "long", "unknown"
]
Related = Callable[["Concept", "Concept"], bool]
"""Whether two concepts are one disease, or one lies below the other."""

RiskOf = Callable[["Concept"], str | None]

NAMED_SO: frozenset[str] = frozenset(("exact", "folded", "order"))
"""The ways of matching by which a concept's own name was written, and no synonym of it."""

CLOSE_RATIO = 92.0  # percent of rapidfuzz's `ratio`, on folded texts
CLOSE_LENGTH = 8  # characters; below it a slip of the pen makes another word
CLOSE_MARGIN = 2.0  # percent that the next concept must be behind
REMEMBERED = 65_536  # texts

_INFLECTION = re.compile(r"(?:us|um|is|ica?|al|a|e)$")
_TAKES_BACK = re.compile(
    r"\b(?:mimic\w*|differential|vaccinatum|herpeticum|like|type|variant|simulat\w*|resembl\w*|"
    r"pseudo\w*|alternative|secondary to|family|risk|history|resolved|healed|scar|treated)\b",
    re.IGNORECASE,
)
_FILLERS = frozenset(("of", "the", "a", "an"))
# Pairs of words that differ by such a beginning are opposites or look-alikes, never slips of the pen.
_TELLING = (
    *("hypo", "hyper", "sub", "pseudo", "para", "pre", "peri", "post", "anti", "non", "micro", "macro"),
    *("intra", "inter", "extra", "epi", "endo", "exo", "photo", "phyto", "a"),
)


@dataclass(frozen=True, slots=True)
class Match:
    """What a written name was read as: its concept, or None, and how.

    `exact`, `folded` and `order` mean the concept's own name (as spelt, after folding, in another order of
    words), `alias` and `abbreviation` a reviewed one, `close` a slip of the pen in a long name. `ambiguous`
    is claimed by several concepts, `doubtful` negated or hedged, `long` too long for a name.
    """

    text: str
    concept: Concept | None
    how: How


class Matcher:
    """Matches written names against concepts; what was read before is remembered.

    Where two concepts claim one spelling, the later of `concepts` has it: give groups before what lies in
    them.
    """

    def __init__(
        self, concepts: Iterable[Concept], same: dict[str, str], related: Related, risk: RiskOf
    ) -> None:
        self._same = same  # id -> id of the concept that stands for its disease
        self._related = related
        self._risk = risk
        self._exact: dict[str, Concept] = {}
        self._folded: dict[str, tuple[Concept, How]] = {}
        self._ambiguous: set[str] = set()
        ordered = list(concepts)
        # The weaker claims first, so that a name wins over another concept's alias.
        self._claim(ordered, "abbreviation")
        self._claim(ordered, "alias")
        self._claim(ordered, "folded")
        self._exact.update((concept.name, concept) for concept in ordered)
        for concept in ordered:
            self._ambiguous.update(map(fold, concept.ambiguous))
        self._in_order: dict[str, tuple[Concept, How] | None] = {}
        for key, (concept, how) in self._folded.items():
            self._claim_order(key, concept, "order" if how == "folded" else how)
        self._words = frozenset(word for key in self._folded for word in key.split())
        self._long = [key for key in self._folded if len(key) >= CLOSE_LENGTH]
        self._seen: dict[str, Match] = {}

    def _claim(self, concepts: Sequence[Concept], how: How) -> None:
        for concept in concepts:
            spellings = {
                "abbreviation": concept.abbreviations,
                "alias": concept.aliases,
                "folded": (concept.name,),
            }[how]
            for text in spellings:
                keys = [fold(text)]
                if "(" in text or "[" in text:
                    keys.append(fold(without_parentheses(text)))
                for key in keys:
                    # One disease under two labels may share its synonyms: the first of the two has them.
                    held = self._folded.get(key)
                    if held is not None and held[1] == how and self._one(held[0], concept):
                        continue
                    self._folded[key] = (concept, how)

    def _claim_order(self, key: str, concept: Concept, how: How) -> None:
        order = _ordered(key)
        held = self._in_order.get(order, (concept, how))
        # Two diseases whose names have the same words are told apart by the order alone.
        self._in_order[order] = held if held is not None and self._one(held[0], concept) else None

    def _one(self, a: Concept, b: Concept) -> bool:
        return self._same.get(a.id, a.id) == self._same.get(b.id, b.id)

    def match(self, text: str) -> Match:
        """How the text reads as a name; never raises, whatever the text."""
        if len(text) > LONGEST_NAME:
            return Match(text[:LONGEST_NAME], None, "long")
        found = self._seen.get(text)
        if found is None:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            found = self._seen[text] = self._match(text)
        return found

    def _match(self, text: str) -> Match:
        concept = self._exact.get(text)
        if concept is not None:
            return Match(text, concept, "exact")
        key = fold(text)
        known = self._known(text, key)
        if known is not None:
            return Match(text, *known)
        if doubtful(text):
            return Match(text, None, "doubtful")
        if key in self._ambiguous:
            return Match(text, None, "ambiguous")
        if "(" in text or "[" in text:
            bare = fold(without_parentheses(text))
            known = self._known(text, bare)
            if known is not None:
                agrees = all(self._agrees(known[0], part) for part in parentheses(text))
                return Match(text, *known) if agrees else Match(text, None, "doubtful")
            if bare in self._ambiguous:
                return Match(text, None, "ambiguous")
            key = bare
        near = self._close(key)
        return Match(text, near, "close") if near is not None else Match(text, None, "unknown")

    def _agrees(self, concept: Concept, part: str) -> bool:
        """Whether what stands in parentheses leaves the name as it is.

        Another disease offers a choice, "melanoma (nevus)"; and so does a word that takes the name back or
        changes it, "melanoma (benign)", "eczema (vaccinatum)". Numbers, places and what is rated do not.
        """
        other = self._folded.get(fold(part))
        if other is not None:
            return self._related(concept, other[0])
        if self._risk(concept) in ("malignant", "emergency") and "benign" in part.lower():
            return False
        return _TAKES_BACK.search(part) is None

    def _known(self, text: str, key: str) -> tuple[Concept, How] | None:
        found = self._folded.get(key)
        if found is None and " " in key:
            found = self._in_order.get(_ordered(key))
        if found is not None and found[1] == "folded" and doubtful(text) and not doubtful(found[0].name):
            return None  # folding drops no word, but "melanoma?" must stay a doubt
        return found

    def _close(self, key: str) -> Concept | None:
        """The concept with the one spelling of which this is a slip of the pen."""
        if len(key) < CLOSE_LENGTH or not key.isascii():  # a letter of another alphabet is no slip
            return None
        near = process.extract(key, self._long, scorer=fuzz.ratio, score_cutoff=CLOSE_RATIO, limit=8)
        best: tuple[Concept, float] | None = None
        for spelling, score, _ in near:  # the nearest first
            concept = self._folded[spelling][0]
            if best is None:
                if not self._slip(key, spelling):
                    return None
                best = concept, score
            elif not self._one(best[0], concept) and best[1] - score < CLOSE_MARGIN:
                return None
        return best[0] if best else None

    def _slip(self, written: str, meant: str) -> bool:
        """Whether each word of the two is the same or differs by a slip of the pen.

        A word that stands in other names of the taxonomy was meant: "systemic scleredema" is no slip for
        "systemic scleroderma". Two words of one stem are.
        """
        if len(written.split()) != len(meant.split()):
            return written.replace(" ", "") == meant.replace(" ", "")  # a space too many or too few
        pairs = zip(written.split(), meant.split(), strict=True)
        return all(
            a == b or (_slip_of_word(a, b) and (a not in self._words or _stem(a) == _stem(b)))
            for a, b in pairs
        )


def _ordered(key: str) -> str:
    return " ".join(sorted(word for word in key.split() if word not in _FILLERS))


def _slip_of_word(a: str, b: str) -> bool:
    if a[0] != b[0] or min(len(a), len(b)) < 5 or any(c.isdigit() for c in a + b):
        return False
    if any(a.startswith(start) != b.startswith(start) for start in _TELLING):
        return False
    most = 1 if min(len(a), len(b)) < 10 else 2
    return OSA.distance(a, b, score_cutoff=most) <= most


def _stem(word: str) -> str:
    return _INFLECTION.sub("", word)

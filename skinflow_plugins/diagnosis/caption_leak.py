"""Whether a caption names a diagnosis instead of describing one.

A name is found as it is written, in other spellings that folding makes one, as an abbreviation or a code,
misspelt, spaced ("m e l a n o m a"), hyphenated ("mela-noma"), and with letters of other alphabets or digits
that look alike. Words of morphology are no names, even where a taxonomy has them: "ulcer", "cyst", "warty".
Paraphrases, other languages, adjectives ("eczematous"), names of less than seven letters with a slip, and
names within a longer word are not found.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import DamerauLevenshtein

from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.diagnosis.vocabulary_load import load_vocabulary
from skinflow_plugins.diagnosis.vocabulary_words import KEYS, phrase

LEAST_SPLIT = 6  # letters of a name that is recognised in pieces
LEAST_SLIP = 8  # letters of a word that may be a misspelt name
LONGEST_NEAR = 40  # letters of a word that is compared with names
LEAST_NEAR = 7  # letters of a name that is recognised with one letter wrong, missing, too many or swapped
MOST_PIECES = 40

_TOKEN = re.compile(r"[^\W_]+")
_ALIKE = str.maketrans(
    "аеорсухіѕкмтнвАЕОРСУХІЅКМТНВαοεικνυρτ",  # Cyrillic and Greek
    "aeopcyxiskmthbAEOPCYXISKMTHBaoeikvupt",
)
_DIGITS = str.maketrans("013457", "oleast")
_ENGLISH = frozenset(("ten", "carp", "dress", "em", "en", "ad", "le", "ha", "mel"))
"""Abbreviations of diseases that in small letters are words or pieces of words."""


@dataclass(frozen=True, slots=True)
class Leak:
    """What was written, and the concept of the taxonomy that it names."""

    written: str
    concept: Concept


@dataclass(frozen=True, slots=True)
class _Name:
    words: tuple[str, ...]
    concept: Concept


@dataclass(frozen=True)
class _Names:
    """The names of a taxonomy by their letters, every beginning of these letters, and the abbreviations."""

    whole: Mapping[str, _Name]
    beginnings: frozenset[str]
    short: Mapping[str, tuple[str, Concept]]
    describing: frozenset[tuple[str, ...]]
    longer: Mapping[str, Sequence[tuple[str, ...]]]  # of these those of several words, by the first
    single: Sequence[str]  # names of diseases in one word of `LEAST_NEAR` letters or more


def leak_in(
    caption: str,
    tree: Taxonomy,
    *,
    fields: Mapping[str, Sequence[str]] | None = None,
    vocabulary: str = "dermatology",
) -> Leak | None:
    """The first diagnosis that the caption names; None when it only describes.

    Names are those of all concepts of the taxonomy, general words and groups included, without the words of
    the vocabulary and the values of the caption schema `fields`.
    """
    return next(_leaks(caption, tree, _own(fields), vocabulary), None)


def leaked_name(
    caption: str,
    diagnosis: str,
    tree: Taxonomy,
    *,
    fields: Mapping[str, Sequence[str]] | None = None,
    vocabulary: str = "dermatology",
) -> str | None:
    """How the caption names this diagnosis, something wider, or a form of it; None when it does not."""
    truth = tree.resolve(diagnosis)
    for leak in _leaks(caption, tree, _own(fields), vocabulary):
        concept = leak.concept
        if (
            truth is None
            or tree.same(concept, truth)
            or tree.is_a(concept, truth)
            or tree.is_a(truth, concept)
        ):
            return leak.written
    words, said = phrase(diagnosis), phrase(caption)
    spoken = any(said[i : i + len(words)] == words for i in range(len(said) - len(words) + 1))
    return diagnosis if truth is None and words and spoken else None


def _related(a: Concept, b: Concept, tree: Taxonomy) -> bool:
    return tree.same(a, b) or tree.is_a(a, b) or tree.is_a(b, a)


def _own(fields: Mapping[str, Sequence[str]] | None) -> tuple[str, ...]:
    return tuple(value for values in (fields or {}).values() for value in values)


@functools.lru_cache(maxsize=16)
def _names(tree: Taxonomy, own: tuple[str, ...], vocabulary: str) -> _Names:
    words = load_vocabulary(vocabulary)
    describing = {phrase(spelling) for value in words for spelling in value.spellings}
    describing.update(map(phrase, own))
    whole: dict[str, _Name] = {}
    short: dict[str, tuple[str, Concept]] = {}
    for concept in tree.concepts.values():
        codes = (code for system in concept.codes.values() for code in system if code[:1].isalpha())
        spellings = (concept.name, *concept.aliases, *concept.abbreviations, *concept.ambiguous)
        for text in (*spellings, *codes):
            keys = phrase(text)
            if not keys or keys in describing:
                continue
            if _is_abbreviation(text):
                short.setdefault("".join(keys), ("".join(_TOKEN.findall(text)), concept))
            else:
                # Also without folding, which leaves "s c a b i e s" as it is and makes "scaby" of the name.
                for words_of in (keys, tuple(word.lower() for word in _TOKEN.findall(text))):
                    whole.setdefault("".join(words_of), _Name(words_of, concept))
    beginnings = {name[:end] for name in (*whole, *short) for end in range(1, len(name) + 1)}
    longer: dict[str, list[tuple[str, ...]]] = {}
    for keys in describing:
        if len(keys) > 1:
            longer.setdefault(keys[0], []).append(keys)
    single = [
        letters
        for letters, name in whole.items()
        if len(letters) >= LEAST_NEAR and len(name.words) == 1 and name.concept.kind in ("label", "answer")
    ]
    return _Names(whole, frozenset(beginnings), short, frozenset(describing), longer, single)


def _is_abbreviation(text: str) -> bool:
    return len(text) <= 6 and " " not in text and sum(map(str.isupper, text)) >= 2


def _leaks(caption: str, tree: Taxonomy, own: tuple[str, ...], vocabulary: str) -> Iterator[Leak]:
    names = _names(tree, own, vocabulary)
    if not caption.isascii():
        caption = unicodedata.normalize("NFKC", caption)
        caption = "".join(c for c in caption if unicodedata.category(c) != "Cf").translate(_ALIKE)
    written = _TOKEN.findall(caption)
    shouted = caption.isupper()
    keys = [KEYS[word.lower()] for word in written]
    raw = [word.lower() for word in written]
    done = 0
    for i, word in enumerate(written):
        if i < done:
            continue
        described = _described(keys, i, names)
        found = _joined(keys, i, names) or _joined(raw, i, names)
        if found is None and not word.isalpha():  # "melan0ma"
            found = _joined([raw[i].translate(_DIGITS), *raw[i + 1 : i + MOST_PIECES]], 0, names, i)
        if found is not None and found[0] > described:
            done, concept = found
            yield Leak(" ".join(written[i:done]), concept)
        elif described > i:
            done = described
        elif not (i and written[i - 1].isdigit()):  # "5 MM"
            near = _abbreviated(word, keys[i], names, shouted) or _misspelt(word, keys[i], names, tree)
            near = near or _one_off(raw[i], tree, own, vocabulary)
            if near is not None:
                yield Leak(word, near)


def _described(keys: Sequence[str], i: int, names: _Names) -> int:
    """Where the longest phrase of several words that describes, such as "wart-like", ends; i without one."""
    phrases = names.longer.get(keys[i], ())
    return max((i + len(p) for p in phrases if tuple(keys[i : i + len(p)]) == p), default=i)


def _misspelt(word: str, key: str, names: _Names, tree: Taxonomy) -> Concept | None:
    if len(word) < LEAST_SLIP or (key,) in names.describing:
        return None
    near = tree.match(word)
    return near.concept if near.how == "close" else None


@functools.lru_cache(maxsize=65536)
def _one_off(word: str, tree: Taxonomy, own: tuple[str, ...], vocabulary: str) -> Concept | None:
    """The disease whose name is one letter away, as in "melnoma", "meIanoma" and "psor1asis"."""
    names = _names(tree, own, vocabulary)
    if not LEAST_NEAR - 1 <= len(word) <= LONGEST_NEAR or (KEYS[word],) in names.describing:
        return None
    found = process.extractOne(word, names.single, scorer=DamerauLevenshtein.distance, score_cutoff=1)
    return names.whole[found[0]].concept if found else None


def _abbreviated(word: str, key: str, names: _Names, shouted: bool) -> Concept | None:
    """The concept that a word abbreviates: written as such, or in small letters where it is no other word."""
    known = names.short.get(key) or names.short.get(word.lower())
    if known is None:
        return None
    as_such = not shouted and word.removesuffix("s") == known[0]
    plain = len(known[0]) >= 3 and key not in _ENGLISH
    return known[1] if as_such or plain else None


def _joined(words: Sequence[str], first: int, names: _Names, offset: int = 0) -> tuple[int, Concept] | None:
    """The longest name that the words from `first` on spell together: where it ends, and its concept.

    Pieces of words count for a name of `LEAST_SPLIT` letters, single letters for one of three. The end is
    counted from `offset`.
    """
    best: tuple[int, Concept] | None = None
    joined = ""
    for end in range(first + 1, min(first + MOST_PIECES, len(words)) + 1):
        joined += words[end - 1]
        if joined not in names.beginnings:
            break
        pieces = tuple(words[first:end])
        letters = len(pieces) >= 3 and all(len(piece) == 1 for piece in pieces)
        name = names.whole.get(joined)
        if name is not None and (
            len(pieces) == 1 or pieces == name.words or len(joined) >= LEAST_SPLIT or letters
        ):
            best = end + offset, name.concept
        elif letters and joined in names.short:
            best = end + offset, names.short[joined][1]
    return best

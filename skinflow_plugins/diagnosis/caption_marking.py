"""Words of a caption that agree with a reference in letters and not in meaning, marked so as not to match.

ROUGE-L and BLEU compare words alone: "not red" agrees with "red", and so does a value in the wrong field.
Such words are marked before they are compared; a text without any is left as it is, to the letter.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from skinflow_plugins.diagnosis.caption_negation import negated_words, negates
from skinflow_plugins.diagnosis.vocabulary_words import KEYS

MARK = "not"  # written before a word, without a space

_TOKEN = re.compile(r"[^\W_]+|[.,;:!?()\n]")
_HEAD = re.compile(r"(?:^|[;\n,.])[\s*_`\"'-]*([^\W\d_][\w -]{0,40}?)[\s*_`\"']*:")
_END = re.compile(r"[;\n]")
_SIGNS = re.compile(r"[;,:\n]+")
_FUNCTION = frozenset(
    (
        *(
            "a",
            "an",
            "the",
            "of",
            "in",
            "on",
            "at",
            "to",
            "is",
            "are",
            "was",
            "be",
            "and",
            "or",
            "with",
            "no",
        ),
        *("not", "without", "any", "this", "that", "it", "its", "for", "by", "from", "as", "there", "than"),
        *("nor", "neither", "non", "but", "sign", "evidence", "seen", "visible", "present", "absent"),
    )
)
"""Words that no negation makes another."""


@dataclass(frozen=True)
class Reference:
    """A text to compare with, and what its words mean.

    `names` are the names of its fields, which do not count, and `of_field` the words of each. `said` and
    `denied` are its words outside of and under a negation.
    """

    text: str
    names: tuple[str, ...] = ()
    of_field: Mapping[str, frozenset[str]] = field(default_factory=dict)
    said: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()


def reference_of_fields(caption: Mapping[str, Sequence[str]]) -> Reference:
    """The reference that a caption of fields is: its values alone."""
    return _of_fields(tuple((name, tuple(values)) for name, values in caption.items()))


@functools.lru_cache(maxsize=8192)
def _of_fields(caption: tuple[tuple[str, tuple[str, ...]], ...]) -> Reference:
    text = _plain(" ".join(value for _, values in caption for value in values))
    of_field = {_key(name): frozenset(_keys(" ".join(values))) for name, values in caption}
    return Reference(text, tuple(name for name, _ in caption), of_field, frozenset(_keys(text)))


@functools.lru_cache(maxsize=8192)
def reference_of_text(text: str) -> Reference:
    """The reference that a text is; one of the form `field: value; field: value` counts without the names."""
    names = tuple(dict.fromkeys(_HEAD.findall(text))) if ":" in text else ()
    of_field: dict[str, frozenset[str]] = {}
    if len(names) > 1:
        for name, start, end in _fields_in(text, names):
            of_field[name] = of_field.get(name, frozenset()) | frozenset(_keys(text[start:end]))
    else:
        names = ()
    said, denied = _split(_keys(text))
    return Reference(without_names(text, names), names, of_field, said, denied)


def _split(keys: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The words outside of and under a negation."""
    denied = negated_words(keys)
    return (
        frozenset(key for key, no in zip(keys, denied, strict=True) if not no),
        frozenset(key for key, no in zip(keys, denied, strict=True) if no),
    )


def marked(text: str, reference: Reference) -> str:
    """The text, with a mark on each word of the reference that it does not mean.

    That is a word under a negation which the reference says, and the other way round; a word both said and
    negated; and one behind the name of a field that has it not, where another field has it.
    """
    keys = _keys(text)
    if not (reference.names or reference.denied or negates(keys)):
        return text
    spots = list(_TOKEN.finditer(text))
    wrong = _taken_back(keys, reference)
    if reference.names:
        wrong |= _misplaced(text, keys, [spot.start() for spot in spots], reference)
    if not wrong:
        return text
    parts, done = [], 0
    for i in sorted(wrong):
        parts += [text[done : spots[i].start()], MARK]
        done = spots[i].start()
    return "".join([*parts, text[done:]])


def _taken_back(keys: Sequence[str], reference: Reference) -> set[int]:
    under = negated_words(keys)
    if not reference.denied and not any(under):
        return set()
    said, denied = _split(keys)
    both = (said & denied) - (reference.said & reference.denied)
    there = (reference.said | reference.denied) - _FUNCTION
    return {
        i
        for i, (key, no) in enumerate(zip(keys, under, strict=True))
        if key in there and (key in both or key not in (reference.denied if no else reference.said))
    }


def _misplaced(text: str, keys: Sequence[str], starts: Sequence[int], reference: Reference) -> set[int]:
    wrong: set[int] = set()
    i = 0
    for name, start, end in _fields_in(text, reference.names):
        right = reference.of_field.get(name, frozenset())
        while i < len(keys) and starts[i] < end:
            if starts[i] >= start and keys[i] in reference.said and keys[i] not in right:
                wrong.add(i)
            i += 1
    return wrong


def _fields_in(text: str, names: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """(key of the name, start and end of what stands behind it) of each of these names before a colon."""
    heads = list(_pattern(names).finditer(text))
    for number, head in enumerate(heads):
        limit = heads[number + 1].start() if number + 1 < len(heads) else len(text)
        end = _END.search(text, head.end(), limit)
        yield _key(head[1]), head.end(), end.start() if end else limit


def without_names(text: str, names: tuple[str, ...]) -> str:
    """The text without these names before a colon and signs between values; as it is where there are none."""
    return _plain(_pattern(names).sub(" ", text)) if names else text


@functools.lru_cache(maxsize=1024)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    parts = (map(re.escape, re.split(r"[\s_-]+", name)) for name in sorted(names, key=len, reverse=True))
    spellings = "|".join(r"[\s_-]+".join(each) for each in parts)
    return re.compile(rf"(?<!\w)({spellings})(?!\w)[\s*_`\"']*[:=]", re.IGNORECASE)


def _plain(text: str) -> str:
    return " ".join(_SIGNS.sub(" ", text).split())


def _keys(text: str) -> list[str]:
    return [KEYS[token.lower()] for token in _TOKEN.findall(text)]


def _key(name: str) -> str:
    return " ".join(_keys(name))

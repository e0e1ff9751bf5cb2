"""What an answer claims in each field of a caption schema, in whatever form it says so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skinflow_plugins.diagnosis.caption_lexicon import OUTSIDE, Lexicon, Phrases, Sense, Span, spans
from skinflow_plugins.diagnosis.caption_negation import negated
from skinflow_plugins.diagnosis.caption_text import caption_text
from skinflow_plugins.diagnosis.captions import value_key
from skinflow_plugins.diagnosis.folding import strip_marker
from skinflow_plugins.diagnosis.structured import read_json
from skinflow_plugins.diagnosis.vocabulary import Id
from skinflow_plugins.diagnosis.vocabulary_words import KEYS, tokens

LONGEST_HEAD = 48  # characters before a colon in which the name of a field is looked for
NEAR = 4  # words between a word of several fields and the field's name
DEEPEST = 4  # JSON objects within JSON objects

_COLON = re.compile(r"[:=\uff1a]")
_WORD = re.compile(r"[^\W_]+")
_CLAUSE_END = re.compile(r"[;\n\uff1b|}]|\.(?=\s+\S)")
_BREAK = re.compile(r"[;\n,.|(\[{\uff0c\uff1b]")
_BRACKETS = " \t\r\n[]{}()\"'"


@dataclass(slots=True)
class Claims:
    """The claims of an answer, by field of the schema.

    `named` are values of the schema in its own spelling, `denied` those that are negated, `unknown` what is
    said of a field and is no value of it. `again` counts how often a value was listed once more. `beside` are
    values outside of the schema, which matter only where they exclude one of the schema. `why_none` says why
    nothing could be read.
    """

    named: dict[str, list[str]] = field(default_factory=dict)
    denied: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    again: dict[str, int] = field(default_factory=dict)
    beside: set[Id] = field(default_factory=set)
    why_none: str = ""

    def claim(self, name: str, value: str) -> None:
        values = self.named.setdefault(name, [])
        if value not in values:
            values.append(value)

    def deny(self, name: str, value: str) -> None:
        values = self.denied.setdefault(name, [])
        if value not in values:
            values.append(value)


def read_claims(answer: str, words: Lexicon) -> Claims:
    """The claims of the answer's caption; see `caption_text` for what is no caption at all.

    Behind the name of a field and a colon stand values of that field, parted by commas: one of the schema, or
    words of the vocabulary that mean one, or else an unknown value. So does a JSON object. Everywhere else a
    word counts where the vocabulary has it. A word of several fields is of the one whose name stands nearby.
    """
    text, why_none = caption_text(answer)
    claims = Claims(why_none=why_none)
    if text:
        listed: Counter[tuple[str, str]] = Counter()
        for name, said in _parts(text, words):
            if name is None:
                _read_sentences(said, words, claims)
            elif name != OUTSIDE:
                _read_values(name, said, words, claims, listed)
        for (name, _), count in listed.items():
            if count > 1:
                claims.again[name] = claims.again.get(name, 0) + count - 1
    return claims


Part = tuple[str | None, Any]
"""A field's name with its values as text or list; None with a text that belongs to no field."""


def _parts(text: str, words: Lexicon) -> Iterator[Part]:
    if text[0] in "{[" or "```" in text:
        found = read_json(text)
        if isinstance(found, (dict, list)):
            yield from _json_parts(found, words)
            return
    done = 0
    heads = list(_heads(text, words))
    for number, (start, after, name) in enumerate(heads):
        if start > done:
            yield None, text[done:start]
        limit = heads[number + 1][0] if number + 1 < len(heads) else len(text)
        end = _CLAUSE_END.search(text, after, limit)
        done = end.start() if end else limit
        yield name, text[after:done]
    if done < len(text):
        yield None, text[done:]


def _json_parts(value: Any, words: Lexicon, deep: int = 0) -> Iterator[Part]:
    if isinstance(value, list):
        for each in value if deep < DEEPEST else ():
            yield from _json_parts(each, words, deep + 1)
    elif isinstance(value, dict):
        for key, each in value.items() if deep < DEEPEST else ():
            name = _field_of(key, words)
            if isinstance(each, dict):
                if name is None or any(_field_of(inner, words) is not None for inner in each):
                    yield from _json_parts(each, words, deep + 1)
                else:
                    yield name, [inner for inner, said in each.items() if said]  # {"colour": {"red": true}}
            elif name is None:
                said = ", ".join(map(str, each)) if isinstance(each, list) else str(each)
                yield None, f"{key}: {said}"
            else:
                listed = each if isinstance(each, list) else [each]
                yield name, [str(one) for one in listed if one is not None]
    elif value is not None:
        yield None, str(value)


def _heads(text: str, words: Lexicon) -> Iterator[tuple[int, int, str]]:
    """(start, end with the colon, field) of every name of a field before a colon."""
    done = 0
    for colon in _COLON.finditer(text):
        at = colon.start()
        window = max(done, at - LONGEST_HEAD)
        for stop in _BREAK.finditer(text, window, at):
            window = stop.end()
        before = text[window:at]
        name = words.field_keys.get(value_key(strip_marker(before.strip(_BRACKETS + "*_`"))))
        start = window
        if name is None:
            found = list(_WORD.finditer(before))[-4:]
            for i, first in enumerate(found):
                key = tuple(KEYS[each[0].lower()] for each in found[i:])
                if key in words.heads:
                    name, start = words.heads[key], window + first.start()
                    break
        if name is not None:
            yield start, at + 1, name
            done = at + 1


def _field_of(key: str, words: Lexicon) -> str | None:
    name = words.field_keys.get(value_key(key))
    return words.heads.get(tuple(KEYS[word.lower()] for word in _WORD.findall(key))) if name is None else name


def _read_values(
    name: str, said: str | Sequence[str], words: Lexicon, claims: Claims, listed: Counter[tuple[str, str]]
) -> None:
    """What stands behind the name of a field."""
    known = words.exact[name]
    claims.named.setdefault(name, [])
    if isinstance(said, str):
        whole = value_key(said)
        pieces = [said] if whole in known else said.split(",")
    else:
        pieces = list(said)
    for piece in pieces:
        key = value_key(piece)
        if key not in known:
            key = key.strip(_BRACKETS)
        value = known.get(key)
        if value is not None:
            claims.claim(name, value)
            listed[name, value] += 1
        elif key and not _read_words(name, key, words.of_field[name], claims, listed):
            unknown = claims.unknown.setdefault(name, [])
            if key not in unknown:
                unknown.append(key)


def _read_words(
    name: str, text: str, phrases: Phrases, claims: Claims, listed: Counter[tuple[str, str]]
) -> bool:
    """Claims of the words that mean values of the field; whether there were any."""
    keys = _keys_of(text, phrases)
    found = spans(keys, phrases)
    values = [senses[0].value for _, _, senses in found]
    denied = negated(keys, [(start, end) for start, end, _ in found])
    for value, taken_back in zip(values, denied, strict=True):
        if taken_back:
            claims.deny(name, value)
        else:
            claims.claim(name, value)
    for value in {v for v, taken_back in zip(values, denied, strict=True) if not taken_back}:
        listed[name, value] += 1
    return bool(found)


def _read_sentences(text: str, words: Lexicon, claims: Claims) -> None:
    keys = _keys_of(text, words.phrases)
    found = spans(keys, words.phrases)
    if not found:
        return
    denied = negated(keys, [(start, end) for start, end, _ in found])
    for span, taken_back in zip(found, denied, strict=True):
        sense = span[2][0] if len(span[2]) == 1 else _nearest(keys, span, words.cues)
        if sense.field == OUTSIDE:
            if not taken_back:
                claims.beside.add(sense.id)
        elif taken_back:
            claims.deny(sense.field, sense.value)
        else:
            claims.claim(sense.field, sense.value)


def _keys_of(text: str, phrases: Phrases) -> list[str]:
    keys = [KEYS[token] for token in tokens(text)]
    if "non" in text:
        for i in range(len(keys) - 1, -1, -1):
            if keys[i].startswith("non") and keys[i][3:] in phrases and keys[i] not in phrases:
                keys[i : i + 1] = ["non", keys[i][3:]]
    return keys


def _nearest(keys: Sequence[str], span: Span, cues: Mapping[str, str]) -> Sense:
    """Of several senses the one whose field is named nearest, behind rather than before; else the first."""
    start, end, senses = span
    homes = {sense.home: sense for sense in reversed(senses)}
    for away in range(NEAR):
        for i in (end + away, start - 1 - away):
            home = cues.get(keys[i]) if 0 <= i < len(keys) else None
            if home in homes:
                return homes[home]
    return next((sense for sense in senses if sense.field != OUTSIDE), senses[0])

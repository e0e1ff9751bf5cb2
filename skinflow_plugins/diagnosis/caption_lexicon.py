"""What each word of a caption means under a caption schema, with the help of a vocabulary."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skinflow_plugins.diagnosis.captions import value_key
from skinflow_plugins.diagnosis.vocabulary import Id, Value, Vocabulary
from skinflow_plugins.diagnosis.vocabulary_load import load_vocabulary
from skinflow_plugins.diagnosis.vocabulary_words import phrase

Words = tuple[str, ...]
OUTSIDE = ""
"""In the place of a field: the value is no value of the schema."""

# Values that say something only behind the name of their field.
_BARE = frozenset(
    map(phrase, ("yes", "no", "none", "absent", "present", "true", "false", "unknown", "other", "n/a", "any"))
)


@dataclass(frozen=True, slots=True)
class Sense:
    """What a phrase may mean: a value of a field of the schema, or one OUTSIDE of it.

    `home` is the field whose name, standing nearby, tells that this sense is meant.
    """

    field: str
    value: str
    home: str

    @property
    def id(self) -> Id:
        return self.field, self.value


Phrases = dict[str, list[tuple[Words, tuple[Sense, ...]]]]
"""First word -> the other words and the senses of each phrase that starts so, the longest first."""


@dataclass(frozen=True)
class Lexicon:
    """The words of one caption schema.

    `exact` has each field's values by their `value_key`. `heads` are the names that may stand before a colon,
    with the field of the schema or OUTSIDE. `phrases` are what counts in a sentence, `of_field` what counts
    behind a field's name. `cues` are single words that name a field. `opposed` are values, of the schema or
    outside of it, that exclude each other. `field_keys` are the fields by `value_key`, `sizes` the numbers of
    their values.
    """

    fields: tuple[str, ...]
    exact: Mapping[str, Mapping[str, str]]
    heads: Mapping[Words, str]
    phrases: Phrases
    of_field: Mapping[str, Phrases]
    cues: Mapping[str, str]
    opposed: Mapping[Id, frozenset[Id]]
    field_keys: Mapping[str, str]
    sizes: Mapping[str, int]


def lexicon(fields: Mapping[str, Sequence[str]], vocabulary: str = "dermatology") -> Lexicon:
    """The lexicon of a caption schema; kept while neither the schema nor the vocabulary's file changes.

    A value of the schema is looked up in the vocabulary's field of the same name, else in the others; the
    words of the value that it is found to be then mean it, and so do those of narrower values that the schema
    lacks. Raises `InputError` for a vocabulary that cannot be read.
    """
    schema = tuple((name, tuple(values)) for name, values in fields.items())
    return _lexicon(schema, load_vocabulary(vocabulary))


@functools.lru_cache(maxsize=64)
def _lexicon(schema: tuple[tuple[str, tuple[str, ...]], ...], vocabulary: Vocabulary) -> Lexicon:
    return _Builder(schema, vocabulary).build()


@dataclass
class _Builder:
    schema: tuple[tuple[str, tuple[str, ...]], ...]
    vocabulary: Vocabulary
    own: dict[tuple[str, Words], str] = field(default_factory=dict)  # field and words -> its value
    meant: dict[Id, list[Id]] = field(default_factory=dict)  # the vocabulary's value -> those of the schema
    known: dict[Id, Id] = field(default_factory=dict)  # the schema's value -> that of the vocabulary

    def build(self) -> Lexicon:
        for name, values in self.schema:
            for value in values:
                self.own.setdefault((name, phrase(value)), value)
                self.look_up(name, value)
        senses = self.senses()
        return Lexicon(
            tuple(name for name, _ in self.schema),
            {name: {value_key(value): value for value in values} for name, values in self.schema},
            self.heads(),
            _phrases({words: found for words, found in senses.items() if words not in _BARE}),
            {
                name: _phrases(
                    {
                        words: own
                        for words, found in senses.items()
                        if (own := tuple(sense for sense in found if sense.field == name))
                    }
                )
                for name, _ in self.schema
            },
            self.cues(),
            self.opposed(senses),
            {value_key(name): name for name, _ in self.schema},
            {name: len(set(values)) for name, values in self.schema},
        )

    def look_up(self, name: str, value: str) -> None:
        found = self.vocabulary.named(value)
        home = self.vocabulary.field_named(name)
        found.sort(key=lambda each: home is None or each.field != home.name)  # the own field first
        if found:
            self.known[name, value] = found[0].id
            meant = self.meant.setdefault(found[0].id, [])
            if all(
                field != name for field, _ in meant
            ):  # of two values that are one, the first has the words
                meant.append((name, value))

    def senses(self) -> dict[Words, tuple[Sense, ...]]:
        """Every phrase with its senses; a value's own spelling comes before another's synonym."""
        found: dict[Words, dict[Id, Sense]] = {}
        for (name, words), value in self.own.items():
            if words:
                found.setdefault(words, {})[name, value] = Sense(name, value, name)
        for each in self.vocabulary:
            targets = self.targets(each)
            for words in dict.fromkeys(map(phrase, each.spellings)):
                senses = found.setdefault(words, {})
                for target in targets:
                    if self.own.get((target[0], words), target[1]) == target[1]:
                        senses.setdefault(target, Sense(*target, target[0]))
                if not targets:
                    outside = OUTSIDE, f"{each.field}/{each.name}"
                    senses.setdefault(outside, Sense(*outside, self.home(each.field)))
        for text in self.vocabulary.ignored:
            found[phrase(text)] = {}
        return {words: tuple(senses.values()) for words, senses in found.items()}

    def targets(self, value: Value) -> list[Id]:
        """The schema's values that the vocabulary's value means: its own, else the nearest that are wider."""
        waiting = [value]
        while waiting:
            found = {target for each in waiting for target in self.meant.get(each.id, ())}
            if found:
                fields = [field for field, _ in found]
                return sorted(target for target in found if fields.count(target[0]) == 1)
            wider = {name for each in waiting for name in each.broader}
            waiting = [self.vocabulary.fields[value.field].values[name] for name in sorted(wider)]
        return []

    def home(self, name: str) -> str:
        """The schema's field that is the vocabulary's field of this name; itself where there is none."""
        for own, _ in self.schema:
            found = self.vocabulary.field_named(own)
            if found is not None and found.name == name:
                return own
        return name

    def heads(self) -> dict[Words, str]:
        heads: dict[Words, str] = {}
        for each in self.vocabulary.fields.values():
            home = self.home(each.name)
            target = home if any(home == name for name, _ in self.schema) else OUTSIDE
            heads.update((phrase(name), target) for name in (each.name, *each.names))
        heads.update((phrase(name), name) for name, _ in self.schema)
        return heads

    def cues(self) -> dict[str, str]:
        cues: dict[str, str] = {}
        for each in self.vocabulary.fields.values():
            for name in (each.name, *each.names):
                if len(words := phrase(name)) == 1:
                    cues[words[0]] = self.home(each.name)
        cues.update((words[0], name) for name, _ in self.schema if len(words := phrase(name)) == 1)
        return cues

    def opposed(self, senses: Mapping[Words, tuple[Sense, ...]]) -> dict[Id, frozenset[Id]]:
        meaning: dict[Id, Id] = dict(self.known)
        for sense in (sense for found in senses.values() for sense in found if sense.field == OUTSIDE):
            name, _, value = sense.value.partition("/")
            meaning[sense.id] = name, value
        found = {
            a: frozenset(b for b in meaning if self.vocabulary.opposed(meaning[a], meaning[b]))
            for a in meaning
        }
        return {a: others for a, others in found.items() if others}


def _phrases(senses: Mapping[Words, tuple[Sense, ...]]) -> Phrases:
    found: Phrases = {}
    for words, meant in senses.items():
        found.setdefault(words[0], []).append((words[1:], meant))
    for listed in found.values():
        listed.sort(key=lambda entry: -len(entry[0]))
    return found


Span = tuple[int, int, tuple[Sense, ...]]


def spans(keys: Sequence[str], phrases: Phrases) -> list[Span]:
    """The phrases in a text: first word, word after the last, and senses; the longest from the left."""
    found: list[Span] = []
    end = 0
    for i in [i for i, key in enumerate(keys) if key in phrases]:
        if i < end:
            continue
        for rest, senses in phrases[keys[i]]:
            size = len(rest)
            if not size or tuple(keys[i + 1 : i + 1 + size]) == rest:
                end = i + 1 + size
                if senses:
                    found.append((i, end, senses))
                break
    return found

"""Words of a morphological description: which say the same, the opposite, or something wider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from skinflow_plugins.diagnosis.vocabulary_words import phrase

Id = tuple[str, str]
"""A value's field and its own name."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a field: its name and synonyms, the values it excludes, and those that are wider.

    `opposites` and `broader` are names of values of the same field. An opposite is what one lesion cannot be
    at the same time; saying it once is enough. A wider value is true wherever this one is.
    """

    field: str
    name: str
    synonyms: tuple[str, ...] = ()
    opposites: tuple[str, ...] = ()
    broader: tuple[str, ...] = ()

    @property
    def id(self) -> Id:
        return self.field, self.name

    @property
    def spellings(self) -> tuple[str, ...]:
        """The name, then the synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True, slots=True)
class VocabularyField:
    """A field, other names that a caption may call it by, and its values by name."""

    name: str
    names: tuple[str, ...]
    values: Mapping[str, Value]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The fields of a vocabulary, and the phrases in which its words mean nothing.

    Within a field every word belongs to one value, and what is broader makes no circle; `load_vocabulary`
    checks both. A word may stand in several fields, like "irregular".
    """

    name: str
    version: str
    fields: Mapping[str, VocabularyField]
    ignored: tuple[str, ...] = ()
    note: str = "Not clinically validated. Research use only."
    _lines: dict[Id, frozenset[Id]] = field(init=False, repr=False)
    _excluded: dict[Id, frozenset[Id]] = field(init=False, repr=False)
    _by_words: dict[tuple[str, ...], list[Value]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lines: dict[Id, frozenset[Id]] = {}
        excluded: dict[Id, set[Id]] = {}
        by_words: dict[tuple[str, ...], list[Value]] = {}
        for value in self:
            lines[value.id] = frozenset(self._above(value))
            for other in value.opposites:
                excluded.setdefault(value.id, set()).add((value.field, other))
                excluded.setdefault((value.field, other), set()).add(value.id)
            for key in dict.fromkeys(map(phrase, value.spellings)):
                by_words.setdefault(key, []).append(value)
        inherited = {
            id: frozenset(other for above in line for other in excluded.get(above, ()))
            for id, line in lines.items()
        }
        object.__setattr__(self, "_lines", lines)
        object.__setattr__(self, "_excluded", inherited)
        object.__setattr__(self, "_by_words", by_words)

    def __iter__(self) -> Iterator[Value]:
        for each in self.fields.values():
            yield from each.values.values()

    def _above(self, value: Value) -> Iterator[Id]:
        waiting = [value]
        seen = {value.id}
        while waiting:
            each = waiting.pop()
            yield each.id
            for name in each.broader:
                if (each.field, name) not in seen:
                    seen.add((each.field, name))
                    waiting.append(self.fields[each.field].values[name])

    def line(self, value: Id) -> frozenset[Id]:
        """The value itself and all that is wider."""
        return self._lines[value]

    def opposed(self, a: Id, b: Id) -> bool:
        """Whether one lesion cannot be both: they, or what is wider, are opposites."""
        return not self._excluded[a].isdisjoint(self._lines[b])

    def named(self, text: str) -> list[Value]:
        """The values of all fields that have the text as name or synonym."""
        return list(self._by_words.get(phrase(text), ()))

    def field_named(self, text: str) -> VocabularyField | None:
        """The field of that name, or with that other name."""
        key = phrase(text)
        return next(
            (each for each in self.fields.values() if key in map(phrase, (each.name, *each.names))), None
        )

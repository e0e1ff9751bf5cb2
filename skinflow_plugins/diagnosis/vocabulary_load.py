"""Reads a vocabulary from its YAML file, and reports every mistake in it at once.

The file:

    name: dermatology               # optional; otherwise the file's stem
    version: "1"
    note: Not clinically validated. Research use only.
    source: where the words come from
    licence: of the words
    reviewed: who looked at them, when, and how
    ignored: [on the other hand]    # phrases in which words of the vocabulary say nothing
    fields:
      border:
        names: [margin, edge]       # what else a caption may call the field
        values:
          sharp:
            synonyms: [well-defined, well-demarcated]   # a list, or a list of lists
            opposites: [blurred]    # values of this field; saying it once is enough
          blurred: [ill-defined]    # a plain list is one of synonyms
          raised:                   # a value without other words
      location:
        values:
          arm: []
          elbow: {broader: [arm]}   # values of this field that are true wherever this one is

A word belongs to one value of a field. Case, hyphens, plurals and British spelling need no synonyms.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import yaml

from skinflow_plugins.diagnosis.vocabulary import Value, Vocabulary, VocabularyField
from skinflow_plugins.diagnosis.vocabulary_words import phrase
from skinflow_plugins.diagnosis.yaml_reader import NodeReader, composed, located
from skinflow_plugins.errors import InputError, nearest

VOCABULARIES = Path(__file__).parent / "vocabularies"
LONGEST_PHRASE = 8  # words

_TEXTS = ("name", "version", "note", "source", "licence", "reviewed")
_TOP = (*_TEXTS, "ignored", "fields")
_FIELD = ("names", "values")
_VALUE = ("synonyms", "opposites", "broader")


def builtin_vocabularies() -> dict[str, Path]:
    """The files of the built-in vocabularies by name."""
    return dict(_builtin())


@functools.cache
def _builtin() -> Mapping[str, Path]:
    return {path.stem: path for path in sorted(VOCABULARIES.glob("*.yaml"))}


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """The vocabulary of a built-in name or of a YAML file; kept until the file changes.

    Raises `InputError` with all mistakes, each with its line.
    """
    return _load(*located(name_or_path, _builtin(), "vocabulary"))


@functools.lru_cache(maxsize=64)
def _load(path: Path, modified: int, size: int) -> Vocabulary:
    return _Reader(path).read(composed(path, "vocabulary"))


class _Reader(NodeReader):
    def read(self, root: yaml.Node | None) -> Vocabulary:
        top = self.mapping(root, "the file", _TOP)
        texts = {key: self.text(top[key], key) for key in _TEXTS if key in top}
        ignored = self.texts(top["ignored"], "ignored") if "ignored" in top else []
        readable = not self.problems
        if readable and "version" not in texts:
            self.problem("the vocabulary has no `version`", root)
        fields = {}
        for name, node in self.mapping(top["fields"], "fields").items() if "fields" in top else ():
            fields[name] = self.field(name, node)
        if readable and not fields and not self.problems:
            self.problem("the vocabulary has no `fields`", top.get("fields", root))
        self.names_of_fields(top.get("fields"), fields)
        if self.problems:
            raise InputError(sorted(self.problems, key=lambda problem: problem.line or 0))
        note = texts.get("note")
        return Vocabulary(
            texts.get("name") or self.path.stem,
            texts["version"],
            fields,
            tuple(ignored),
            *([note] if note else []),
        )

    def field(self, name: str, node: yaml.Node) -> VocabularyField:
        entries = self.mapping(node, f"the field {name!r}", _FIELD)
        names = tuple(self.texts(entries["names"], "names")) if "names" in entries else ()
        values: dict[str, Value] = {}
        lines: dict[str, yaml.Node] = {}
        if "values" in entries:
            for key, each in self.mapping(entries["values"], "values").items():
                values[key], lines[key] = self.value(name, key, each), each
        if not values and not self.problems:
            self.problem(f"the field {name!r} has no `values`", node)
        self.laws(values, lines)
        return VocabularyField(name, names, values)

    def value(self, field: str, name: str, node: yaml.Node) -> Value:
        if not phrase(name):
            self.problem(f"the value {name!r} has no letter or digit", node)
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return Value(field, name)
        if isinstance(node, yaml.SequenceNode):
            return Value(field, name, tuple(self.texts(node, name)))
        entries = self.mapping(node, f"the value {name!r}", _VALUE)
        found = {key: tuple(self.texts(entries[key], key)) for key in _VALUE if key in entries}
        return Value(field, name, **found)

    def laws(self, values: Mapping[str, Value], lines: Mapping[str, yaml.Node]) -> None:
        """One value for each word; opposites and broader values exist and agree."""
        owner: dict[tuple[str, ...], str] = {}
        for value in values.values():
            node = lines[value.name]
            for spelling in value.spellings:
                key = phrase(spelling)
                if owner.setdefault(key, value.name) != value.name:
                    message = f"{spelling!r} is a word of both {owner[key]!r} and {value.name!r}"
                    self.problem(f"{message}; give it to one of them", node)
            for what in ("opposites", "broader"):
                for other in getattr(value, what):
                    if other == value.name:
                        self.problem(f"{value.name!r} is among its own `{what}`", node)
                    elif other not in values:
                        self.problem(
                            f"{value.name!r} has {other!r} among `{what}`; {nearest(other, values)}", node
                        )
        if self.problems:
            return
        above = {name: _above(name, values) for name in values}
        for name, wider in above.items():
            if name in wider:
                self.problem(f"{name!r} is broader than itself, by way of `broader`", lines[name])
            own = {name, *wider}
            if any(other in own for each in own for other in values[each].opposites):
                self.problem(f"{name!r} is the opposite of a value that is broader than it", lines[name])

    def names_of_fields(self, node: yaml.Node | None, fields: Mapping[str, VocabularyField]) -> None:
        owner: dict[tuple[str, ...], str] = {}
        for each in fields.values():
            for name in (each.name, *each.names):
                held = owner.setdefault(phrase(name), each.name)
                if held != each.name:
                    self.problem(f"{name!r} is a name of both fields {held!r} and {each.name!r}", node)

    def texts(self, node: yaml.Node, what: str) -> list[str]:
        """The texts of a list, and of lists within it."""
        found: list[str] = []
        for each in self.sequence(node, what):
            if isinstance(each, yaml.SequenceNode):
                found.extend(self.texts(each, what))
                continue
            text = self.text(each, what)
            if not 0 < len(phrase(text)) <= LONGEST_PHRASE:
                self.problem(f"{text!r} in `{what}` must have 1 to {LONGEST_PHRASE} words", each)
            found.append(text)
        return found


def _above(name: str, values: Mapping[str, Value]) -> set[str]:
    """All that is broader; the name itself where that makes a circle."""
    found: set[str] = set()
    waiting = list(values[name].broader)
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting.extend(values[each].broader)
    return found

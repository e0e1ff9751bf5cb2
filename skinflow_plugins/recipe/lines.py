"""YAML text as a tree in which every value knows its file and line.

Plain values are read by the YAML 1.2 core rules: only `true` and `false` are booleans (so `eval_strategy: no`
stays text), `1e-6` is a number, and dates, octal `012` and base-60 `1:30` do not exist.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from skinflow_plugins.errors import InputError, Problem

Path = tuple[str | int, ...]
"""A place inside a recipe: keys and list positions from the top."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a file as shown to the user, and its line counted from 1."""

    file: str
    line: int | None = None

    def problem(self, path: Path, message: str, hint: str = "") -> Problem:
        return Problem(message, where=self.file, line=self.line, path=shown(path), hint=hint)


@dataclass(slots=True)
class Node:
    """A value with its place. Mappings and lists hold nodes again; the place of an entry is its key's."""

    value: Any
    place: Place

    def get(self, key: str) -> Any:
        """The plain scalar under `key` of a mapping; None when there is none."""
        item = self.value.get(key) if isinstance(self.value, dict) else None
        return item.value if item is not None else None


def shown(path: Path) -> str:
    """A path as text: `stages[1].rewards[0].format.weight`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def plain(node: Node) -> Any:
    """The value without places."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def lifted(value: Any, place: Place) -> Node:
    """A plain value as a tree whose every node lies at one place."""
    if isinstance(value, Mapping):
        return Node({str(key): lifted(item, place) for key, item in value.items()}, place)
    if isinstance(value, (list, tuple)):
        return Node([lifted(item, place) for item in value], place)
    return Node(value, place)


def leaves(node: Node, path: Path = ()) -> list[tuple[Path, Node]]:
    """Every scalar below `node` with its path, in order."""
    if isinstance(node.value, dict):
        return [leaf for key, item in node.value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(node.value, list):
        return [leaf for number, item in enumerate(node.value) for leaf in leaves(item, (*path, number))]
    return [(path, node)]


def places(node: Node, path: Path = ()) -> dict[Path, Place]:
    """The place of every value in the tree."""
    found = {path: node.place}
    if isinstance(node.value, dict):
        for key, item in node.value.items():
            found |= places(item, (*path, key))
    elif isinstance(node.value, list):
        for number, item in enumerate(node.value):
            found |= places(item, (*path, number))
    return found


def quoted_number(value: Any) -> str:
    """What to write when text stands where a number is wanted; empty when the text is no number."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return f"write {value} without quotes; from an environment variable, ${{oc.decode:${{oc.env:NAME}}}}"


def parse(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The tree of a YAML document, and its double keys (the first one counts).

    Raises `InputError` for text that is not YAML.
    """
    return _read(text, file, of_command_line=False)


def parse_value(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The tree of a single value, as it stands behind `key=` on the command line; its nodes have no lines."""
    return _read(text, file, of_command_line=True)


def _read(text: str, file: str, *, of_command_line: bool) -> tuple[Node, list[Problem]]:
    reader = _Reader(file, with_lines=not of_command_line)
    if (forbidden := yaml.reader.Reader.NON_PRINTABLE.search(text)) is not None:
        line = None if of_command_line else text[: forbidden.start()].count("\n") + 1
        raise InputError(Problem("a character that YAML does not allow", where=file, line=line))
    loader = _Loader(text)
    try:
        top = loader.get_single_node()
        node = reader.tree(loader, top) if top is not None else Node(None, Place(file))
    except yaml.MarkedYAMLError as error:
        raise InputError(_syntax(error, file, with_line=not of_command_line)) from error
    node.place = Place(file)
    return node, reader.problems


def _syntax(error: yaml.MarkedYAMLError, file: str, *, with_line: bool) -> Problem:
    mark = error.problem_mark or error.context_mark
    message = f"not YAML: {error.problem or error.context}"
    if error.context and error.context_mark and error.problem:
        begun = f" (line {error.context_mark.line + 1})" if with_line else ""
        message += f", {error.context}{begun}"
    hint = ""
    if "'\\t'" in message:
        hint = "indent with spaces; YAML does not take tabs"
    elif "mapping values are not allowed" in message:
        hint = "quote text that holds a colon followed by a space, and check the indentation"
    return Problem(message, where=file, line=mark.line + 1 if mark and with_line else None, hint=hint)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2; `<<` merges as in YAML 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as upstream


_INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*$|0o[0-7]+$|0x[0-9a-fA-F]+$")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|[-+]?\.inf$|\.nan$"
)
for _tag, _pattern, _first in (
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile(r"<<$"), ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value).replace("_", "")
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


class _Reader:
    """Turns PyYAML's nodes into ours and notes double keys on the way."""

    def __init__(self, file: str, *, with_lines: bool) -> None:
        self.file = file
        self.with_lines = with_lines
        self.problems: list[Problem] = []
        self.open: list[yaml.Node] = []

    def place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1 if self.with_lines and node.start_mark else None)

    def tree(self, loader: _Loader, node: yaml.Node) -> Node:
        if any(node is other for other in self.open):
            raise yaml.composer.ComposerError(None, None, "an alias that holds itself", node.start_mark)
        self.open.append(node)
        try:
            return Node(self._value(loader, node), self.place(node))
        finally:
            self.open.pop()

    def _value(self, loader: _Loader, node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.tree(loader, item) for item in node.value]
        if not isinstance(node, yaml.MappingNode):
            value: Hashable = loader.construct_object(node)
            return value
        found: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, item in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for source in item.value if isinstance(item, yaml.SequenceNode) else [item]:
                    inherited = self.tree(loader, source).value
                    merged = (inherited if isinstance(inherited, dict) else {}) | merged
            elif not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key.start_mark)
            elif key.value in found:
                first = found[key.value].place.line
                self.problems.append(
                    self.place(key).problem(
                        (),
                        f"the key {key.value!r} stands twice in one mapping; first on line {first}",
                        "remove one of them",
                    )
                )
            else:
                child = self.tree(loader, item)
                child.place = self.place(key)
                found[key.value] = child
        return merged | found

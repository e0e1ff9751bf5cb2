"""Reads a taxonomy from its YAML file, and reports every mistake in it at once.

The file:

    name: demo                      # optional; otherwise the file's stem
    version: "1"
    note: Not clinically validated. Research use only.
    source: where the names come from
    licence: of the names
    concepts:
      - name: benign
        children:
          - common nevus            # a plain name is a leaf without aliases
          - name: halo nevus
            id: halo                # optional; otherwise the path of names, such as benign/halo-nevus
            aliases: [Sutton nevus]
      - name: blue nevus            # at the top level, `parent` may stand instead of nesting
        parent: benign

Ids and aliases are unique. A name may stand twice only for a group and for something inside it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.taxonomy import Concept, Taxonomy, keys_of
from skinflow_plugins.errors import InputError, Problem, nearest

TABLES = Path(__file__).parent / "tables"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TOP = ("name", "version", "note", "source", "licence", "concepts")
_KEYS = ("name", "id", "aliases", "parent", "children")
_NOTE = "Not clinically validated. Research use only."


def builtin_taxonomies() -> dict[str, Path]:
    """The files of the built-in taxonomies by name."""
    return dict(_builtin())


@functools.cache
def _builtin() -> Mapping[str, Path]:
    return {path.stem: path for path in sorted(TABLES.glob("*.yaml"))}


def load_taxonomy(name_or_path: str | Path) -> Taxonomy:
    """The taxonomy of a built-in name or of a YAML file; kept until the file changes.

    Names that other plug-ins bring are resolved to their files by the catalogue, not here. Raises
    `InputError` with all mistakes.
    """
    path = _builtin().get(name_or_path) if isinstance(name_or_path, str) else None
    if path is None:
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml") and not path.is_file():
            raise InputError(
                Problem(
                    f"unknown taxonomy {str(name_or_path)!r}; {nearest(str(name_or_path), _builtin())}",
                    hint="give a built-in name, or the path of a YAML file",
                )
            )
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(Problem(f"cannot read this taxonomy: {error.strerror}", where=str(path))) from error
    return _load(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=64)
def _load(path: Path, modified: int, size: int) -> Taxonomy:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"cannot read this taxonomy: {error}", where=str(path))) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = f"this is not YAML: {getattr(error, 'problem', None) or error}"
        raise InputError(Problem(message, str(path), mark.line + 1 if mark else None)) from error
    return _Reader(path).read(root)


@dataclass
class _Reader:
    """Collects concepts, the line of each, and problems."""

    path: Path
    problems: list[Problem] = field(default_factory=list)
    concepts: dict[str, Concept] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    open_nodes: set[int] = field(default_factory=set)

    def read(self, root: yaml.Node | None) -> Taxonomy:
        top = self.mapping(root, _TOP, "the file") if root is not None else {}
        texts = {key: self.text(top[key], key) for key in _TOP[:-1] if key in top}
        readable = not self.problems
        if "version" not in texts and readable:
            self.problem("the taxonomy has no `version`", root)
        if "concepts" in top:
            for node in self.sequence(top["concepts"], "concepts"):
                self.concept(node, None)
            if not self.concepts and not self.problems:
                self.problem("`concepts` is empty", top["concepts"])
        elif readable:
            self.problem("the taxonomy has no `concepts`", root)
        if self.check_parents():
            self.check_names()
        if self.problems:
            raise InputError(sorted(self.problems, key=lambda problem: problem.line or 0))
        name, note = texts.get("name") or self.path.stem, texts.get("note") or _NOTE
        return Taxonomy(name, texts["version"], self.concepts, note)

    def concept(self, node: yaml.Node, parent: Concept | None) -> None:
        if id(node) in self.open_nodes:
            self.problem("a YAML anchor makes this concept its own descendant", node)
            return
        entries = (
            {"name": node} if isinstance(node, yaml.ScalarNode) else self.mapping(node, _KEYS, "a concept")
        )
        name = self.text(entries["name"], "name") if "name" in entries else ""
        if not fold(name).strip("? "):
            self.problem("a concept needs a `name` with at least one letter or digit", node)
            return
        slug = re.sub(r"[^\w]+", "-", name.lower()).strip("-")
        key = self.text(entries["id"], "id") if "id" in entries else ""
        key = key or (f"{parent.id}/{slug}" if parent else slug)
        above = parent.id if parent else None
        if "parent" in entries:
            if parent is None:
                above = self.text(entries["parent"], "parent")
            else:
                self.problem(f"{name!r} stands inside {parent.name!r} and cannot have a `parent` too", node)
        aliases: tuple[str, ...] = ()
        if "aliases" in entries:
            aliases = tuple(self.text(each, "alias") for each in self.sequence(entries["aliases"], "aliases"))
        concept = Concept(key, name, aliases, above)
        if key in self.concepts:
            self.problem(f"the id {key!r} stands already in line {self.lines[key]}", node)
        else:
            self.concepts[key] = concept
            self.lines[key] = node.start_mark.line + 1
        self.open_nodes.add(id(node))
        if "children" in entries:
            for child in self.sequence(entries["children"], "children"):
                self.concept(child, concept)
        self.open_nodes.discard(id(node))

    def check_parents(self) -> bool:
        """Whether the parents form a tree; names are only compared in a tree."""
        before = len(self.problems)
        for concept in self.concepts.values():
            if concept.parent is not None and concept.parent not in self.concepts:
                text = f"{concept.name!r} has the unknown parent {concept.parent!r}; "
                self.problem_at(text + nearest(concept.parent, self.concepts), self.lines[concept.id])
        if len(self.problems) > before:
            return False
        settled: set[str] = set()
        for concept in self.concepts.values():
            line: list[str] = []
            above: str | None = concept.id
            while above is not None and above not in settled and above not in line:
                line.append(above)
                above = self.concepts[above].parent
            if above in line:
                cycle = [*line[line.index(above) :], above]
                self.problem_at(f"parents run in a circle: {' -> '.join(cycle)}", self.lines[above])
            settled.update(line)
        return len(self.problems) == before

    def check_names(self) -> None:
        claims: dict[str, list[Concept]] = {}
        for concept in self.concepts.values():
            for alias in concept.aliases:
                if not fold(alias).strip("? "):
                    self.problem_at(f"{concept.name!r} has an empty alias", self.lines[concept.id])
            for key in keys_of(concept):
                for other in claims.setdefault(key, []):
                    if not self.one_inside_the_other(key, concept, other):
                        text = f"{key!r} names two concepts: {other.id!r} (line {self.lines[other.id]})"
                        self.problem_at(f"{text} and {concept.id!r}", self.lines[concept.id])
                claims[key].append(concept)

    def one_inside_the_other(self, key: str, a: Concept, b: Concept) -> bool:
        """Whether both bear the key as their own name and one lies below the other."""
        if fold(a.name) != key or fold(b.name) != key:
            return False
        return a.id in self.line_up(b) or b.id in self.line_up(a)

    def line_up(self, concept: Concept) -> Iterator[str]:
        while concept.parent is not None:
            yield concept.parent
            concept = self.concepts[concept.parent]

    def mapping(self, node: yaml.Node | None, known: tuple[str, ...], what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self.problem(f"{what} must be a mapping with {', '.join(known)}", node)
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in known:
                hint = nearest(str(key.value), known)
                self.problem(f"{what} has the unknown key {key.value!r}; {hint}", key)
            elif key.value in found:
                self.problem(f"{what} has the key {key.value!r} twice", key)
            else:
                found[key.value] = value
        return found

    def sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.problem(f"`{what}` must be a list", node)
        return []

    def text(self, node: yaml.Node, what: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
            return str(node.value)
        self.problem(f"`{what}` must be a text", node)
        return ""

    def problem(self, message: str, node: yaml.Node | None) -> None:
        self.problem_at(message, node.start_mark.line + 1 if node is not None else None)

    def problem_at(self, message: str, line: int | None) -> None:
        self.problems.append(Problem(message, str(self.path), line))

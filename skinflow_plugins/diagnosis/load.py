"""Reads a taxonomy from its YAML file, and reports every mistake in it at once.

The file:

    name: demo                      # optional; otherwise the file's stem
    version: "1"
    note: Not clinically validated. Research use only.
    source: where the names come from
    licence: of the names
    reviewed: who looked at the aliases, when, and how
    partitions: [nine, three]       # optional: the data set's own groupings, the finest first
    management:                     # optional: what each management group means, in a sentence
      excise: To be cut out, by a specialist.
    concepts:
      - name: benign
        children:
          - common nevus            # a plain name is a leaf without aliases
          - name: halo nevus
            id: halo                # optional; otherwise the path of names, such as benign/halo-nevus
            kind: label             # label, answer, generic or group (see `Concept`); a leaf is a label by
                                    # default, what has children a group
            aliases: [Sutton nevus]
            abbreviations: [HN]
            ambiguous: [white mole] # a spelling that several concepts claim: it then names none of them
            same_as: [other-id]     # one disease under two labels; saying it once is enough
            subtype_of: [other-id]  # beyond what the tree says
            groups: {nine: benign melanocyte, three: benign}   # one of each partition, for each label
            risk: benign            # emergency, malignant, premalignant, infectious, systemic, inflammatory
            infectious: false       # by default whether the risk is `infectious`
            management: excise
            codes: {icd10cm: D22.9, doid: ["DOID:1", "DOID:2"]}
            maps: {isic: "id of the same concept in another taxonomy"}
            sources: [where this concept's facts come from]
            remark: one sentence
      - name: blue nevus            # at the top level, `parent` may stand instead of nesting
        parent: benign

Ids are unique, and so is each spelling, unless its concepts are the same disease, or all of them list it
under `ambiguous`. A name may stand twice only for a group and for something inside it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from skinflow_plugins.diagnosis.concept import KINDS, RISKS, Concept
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.laws import broken_laws
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem, nearest

TABLES = Path(__file__).parent / "tables"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXTS = ("name", "version", "note", "source", "licence", "reviewed")
_TOP = (*_TEXTS, "partitions", "management", "concepts")
_LISTS = ("aliases", "abbreviations", "ambiguous", "same_as", "subtype_of", "sources")
_KEYS = (
    *("name", "id", "kind", *_LISTS, "groups", "risk", "infectious", "management", "codes", "maps", "remark"),
    *("parent", "children"),
)
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
        texts = {key: self.text(top[key], key) for key in _TEXTS if key in top}
        readable = not self.problems
        if "version" not in texts and readable:
            self.problem("the taxonomy has no `version`", root)
        partitions = self.texts(top["partitions"], "partitions") if "partitions" in top else ()
        management = self.words(top["management"], "management") if "management" in top else {}
        if "concepts" in top:
            for node in self.sequence(top["concepts"], "concepts"):
                self.concept(node, None)
            if not self.concepts and not self.problems:
                self.problem("`concepts` is empty", top["concepts"])
        elif readable:
            self.problem("the taxonomy has no `concepts`", root)
        for id, message in broken_laws(self.concepts, self.lines, partitions, management):
            self.problem_at(message, self.lines[id])
        if self.problems:
            raise InputError(sorted(self.problems, key=lambda problem: problem.line or 0))
        name, note = texts.get("name") or self.path.stem, texts.get("note") or _NOTE
        return Taxonomy(name, texts["version"], self.concepts, note, partitions, management)

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
        known = self.fields(entries)
        known.setdefault("kind", "group" if "children" in entries else "label")
        concept = Concept(key, name, parent=above, **known)
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

    def fields(self, entries: Mapping[str, yaml.Node]) -> dict[str, Any]:
        """The concept's fields beyond name, id and place, as far as they are given."""
        found: dict[str, Any] = {key: self.texts(entries[key], key) for key in _LISTS if key in entries}
        for key in ("groups", "maps"):
            if key in entries:
                found[key] = self.words(entries[key], key)
        for key, known in (("kind", KINDS), ("risk", RISKS), ("management", None), ("remark", None)):
            if key in entries:
                value = found[key] = self.text(entries[key], key)
                if known is not None and value not in known:
                    self.problem(f"`{key}` is {value!r}; {nearest(value, known)}", entries[key])
        if "infectious" in entries:
            value = self.text(entries["infectious"], "infectious").lower()
            found["infectious"] = value == "true"
            if value not in ("true", "false"):
                self.problem(f"`infectious` is {value!r}; expected true or false", entries["infectious"])
        if "codes" in entries:
            codes = self.pairs(entries["codes"], "codes")
            found["codes"] = {
                system: self.texts(node, system)
                if isinstance(node, yaml.SequenceNode)
                else (self.text(node, system),)
                for system, node in codes.items()
            }
        return found

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

    def pairs(self, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
        """A mapping with keys of the user's own."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(f"`{what}` must be a mapping", node)
            return {}
        found = {str(key.value): value for key, value in node.value}
        if len(found) < len(node.value):
            self.problem(f"`{what}` has a key twice", node)
        return found

    def words(self, node: yaml.Node, what: str) -> dict[str, str]:
        return {key: self.text(value, f"{what}.{key}") for key, value in self.pairs(node, what).items()}

    def texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        return tuple(self.text(each, what) for each in self.sequence(node, what))

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

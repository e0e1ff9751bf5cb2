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
from skinflow_plugins.diagnosis.yaml_reader import NodeReader, composed, located
from skinflow_plugins.errors import InputError, nearest

TABLES = Path(__file__).parent / "tables"
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
    return _load(*located(name_or_path, _builtin(), "taxonomy"))


@functools.lru_cache(maxsize=64)
def _load(path: Path, modified: int, size: int) -> Taxonomy:
    return _Reader(path).read(composed(path, "taxonomy"))


@dataclass
class _Reader(NodeReader):
    """Collects concepts, the line of each, and problems."""

    concepts: dict[str, Concept] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    open_nodes: set[int] = field(default_factory=set)

    def read(self, root: yaml.Node | None) -> Taxonomy:
        top = self.mapping(root, "the file", _TOP) if root is not None else {}
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
            {"name": node} if isinstance(node, yaml.ScalarNode) else self.mapping(node, "a concept", _KEYS)
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
            codes = self.mapping(entries["codes"], "`codes`")
            found["codes"] = {
                system: self.texts(node, system)
                if isinstance(node, yaml.SequenceNode)
                else (self.text(node, system),)
                for system, node in codes.items()
            }
        return found

    def words(self, node: yaml.Node, what: str) -> dict[str, str]:
        return {
            key: self.text(value, f"{what}.{key}") for key, value in self.mapping(node, f"`{what}`").items()
        }

    def texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        return tuple(self.text(each, what) for each in self.sequence(node, what))

"""One node of a taxonomy, and the words that its fields may hold."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from skinflow_plugins.diagnosis.folding import fold, without_parentheses

Kind = Literal["label", "answer", "group", "generic"]
Risk = Literal["emergency", "malignant", "premalignant", "infectious", "systemic", "inflammatory", "benign"]
KINDS: tuple[str, ...] = get_args(Kind)
RISKS: tuple[str, ...] = get_args(Risk)

Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Concept:
    """One node of a taxonomy; `parent` is the parent's id, None directly below the root.

    `kind` is `label` (a class of the data set), `answer` (a diagnosis that is no class but that models do
    answer), `generic` (a general word such as "dermatitis": an inner node, never a right answer), or `group`
    (a heading of the tree that nobody answers). `same_as` are ids of the same disease under another label,
    `subtype_of` ids of diseases that it is a form of, beyond those above it in the tree. `groups` are the
    data set's own partitions. `risk` and `management` are authored and not clinically validated.
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    parent: str | None = None
    kind: str = "label"
    abbreviations: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    subtype_of: tuple[str, ...] = ()
    groups: Words = field(default_factory=dict)
    risk: str | None = None
    infectious: bool | None = None
    management: str | None = None
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    maps: Words = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    remark: str = ""


def keys_of(concept: Concept) -> Iterable[str]:
    """Every folded spelling that names the concept, each once; abbreviations and aliases included."""
    return folded_spellings(concept.name, *concept.aliases, *concept.abbreviations)


@functools.lru_cache(maxsize=16384)
def folded_spellings(*texts: str) -> tuple[str, ...]:
    """The folded forms of the texts, with and without what stands in parentheses, each once."""
    found: dict[str, None] = {}
    for text in texts:
        found[fold(text)] = None
        if "(" in text or "[" in text:
            found[fold(without_parentheses(text))] = None
    return tuple(found)

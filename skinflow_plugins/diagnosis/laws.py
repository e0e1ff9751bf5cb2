"""What must hold between the concepts of a taxonomy: one tree, known references, no name twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from skinflow_plugins.diagnosis.concept import Concept, keys_of
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.errors import nearest

Concepts = Mapping[str, Concept]
Above = Callable[[Concept], Iterable[str]]
Broken = Iterator[tuple[str, str]]
"""Pairs of a concept's id and what is wrong with it."""


def broken_laws(
    concepts: Concepts, lines: Mapping[str, int], partitions: Sequence[str], management: Mapping[str, str]
) -> Broken:
    """Every broken law as (id of the concept, message); `lines` are the concepts' lines, for the messages.

    Names are only compared within a tree: with a broken one there is no telling what lies in what.
    """
    tree = [*_parents(concepts)] or [
        *_circles(concepts, lambda c: (c.parent,) if c.parent else (), "parents")
    ]
    yield from tree
    references = [*_references(concepts)]
    yield from references
    yield from _groups(concepts, partitions, management)
    if tree or references:
        return
    yield from _circles(
        concepts, lambda c: (*c.subtype_of, *((c.parent,) if c.parent else ())), "subtypes and parents"
    )
    yield from _names(concepts, lines)


def _parents(concepts: Concepts) -> Broken:
    for concept in concepts.values():
        if concept.parent is not None and concept.parent not in concepts:
            text = f"{concept.name!r} has the unknown parent {concept.parent!r}; "
            yield concept.id, text + nearest(concept.parent, concepts)


def _circles(concepts: Concepts, above: Above, what: str) -> Broken:
    """The first circle from each concept on that is not on one found already."""
    settled: set[str] = set()
    for start in concepts:
        line: dict[str, Iterator[str]] = {}
        id: str | None = start
        while id is not None:
            if id in line:
                circle = [*line][[*line].index(id) :]
                yield id, f"{what} run in a circle: {' -> '.join([*circle, id])}"
                break
            if id not in settled:
                line[id] = iter(above(concepts[id]))
            id = _next(line, settled)
        settled.update(line)


def _next(line: dict[str, Iterator[str]], settled: set[str]) -> str | None:
    """The next concept of a walk upwards; what was wholly walked through is settled and leaves the line."""
    while line:
        last = next(reversed(line))
        following = next(line[last], None)
        if following is not None:
            return following
        settled.add(last)
        del line[last]
    return None


def _references(concepts: Concepts) -> Broken:
    for concept in concepts.values():
        for key in ("same_as", "subtype_of"):
            for other in getattr(concept, key):
                if other not in concepts:
                    text = f"{concept.name!r} has the unknown id {other!r} in `{key}`; "
                    yield concept.id, text + nearest(other, concepts)
                elif other == concept.id:
                    yield concept.id, f"{concept.name!r} names itself in `{key}`"


def _groups(concepts: Concepts, partitions: Sequence[str], management: Mapping[str, str]) -> Broken:
    coarser: dict[tuple[str, str], tuple[str, Concept]] = {}
    for concept in concepts.values():
        for partition in concept.groups:
            if partition not in partitions:
                text = f"{concept.name!r} has a group of the unknown partition {partition!r}; "
                yield concept.id, text + nearest(partition, partitions)
        if concept.kind == "label":
            for partition in partitions:
                if partition not in concept.groups:
                    yield (
                        concept.id,
                        f"the label {concept.name!r} has no group of the partition {partition!r}",
                    )
        for fine, coarse in itertools.pairwise(partitions):
            if fine in concept.groups and coarse in concept.groups:
                key, value = (fine, concept.groups[fine]), concept.groups[coarse]
                other, first = coarser.setdefault(key, (value, concept))
                if other != value:
                    yield (
                        concept.id,
                        f"the {fine} group {key[1]!r} lies in the {coarse} group {value!r} here and in "
                        f"{other!r} at {first.name!r}",
                    )
        if management and concept.management is not None and concept.management not in management:
            text = f"{concept.name!r} has the unknown management group {concept.management!r}; "
            yield concept.id, text + nearest(concept.management, management)


def _names(concepts: Concepts, lines: Mapping[str, int]) -> Broken:
    claims: dict[str, list[Concept]] = {}
    declared: dict[str, set[str]] = {}
    for concept in concepts.values():
        for text in concept.ambiguous:
            declared.setdefault(fold(text), set()).add(concept.id)
    for concept in concepts.values():
        for alias in (*concept.aliases, *concept.abbreviations, *concept.ambiguous):
            if not fold(alias).strip("? "):
                yield concept.id, f"{concept.name!r} has an empty alias"
        for key in keys_of(concept):
            for other in claims.setdefault(key, []):
                if not (_inside(concepts, key, concept, other) or _one_disease(concepts, concept, other)):
                    text = f"{key!r} names two concepts: {other.id!r} (line {lines[other.id]})"
                    yield concept.id, f"{text} and {concept.id!r}; list it under `ambiguous` of both"
            claims[key].append(concept)
    for key, ids in declared.items():
        for id in ids:
            if len(ids) == 1:
                yield id, f"{key!r} is `ambiguous` at {concepts[id].name!r} alone; expected at two or more"
        for concept in claims.get(key, ()):
            yield concept.id, f"{key!r} names {concept.name!r} and is `ambiguous` elsewhere"


def _inside(concepts: Concepts, key: str, a: Concept, b: Concept) -> bool:
    """Whether both bear the key as their own name and one lies below the other."""
    if fold(a.name) != key or fold(b.name) != key:
        return False
    return a.id in _line_up(concepts, b) or b.id in _line_up(concepts, a)


def _line_up(concepts: Concepts, concept: Concept) -> Iterator[str]:
    while concept.parent is not None:
        yield concept.parent
        concept = concepts[concept.parent]


def _one_disease(concepts: Concepts, a: Concept, b: Concept) -> bool:
    seen = {a.id}
    waiting = [a.id]
    while waiting:
        id = waiting.pop()
        for other in concepts.values():
            if other.id not in seen and (other.id in concepts[id].same_as or id in other.same_as):
                seen.add(other.id)
                waiting.append(other.id)
    return b.id in seen

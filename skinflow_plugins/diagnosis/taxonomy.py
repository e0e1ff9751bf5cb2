"""A tree of diagnoses, and what of it counts as the same, a form of, or near to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from skinflow_plugins.diagnosis.concept import Concept, keys_of
from skinflow_plugins.diagnosis.matching import Match, Matcher

__all__ = ["Concept", "Taxonomy", "TreeName", "keys_of"]

TreeName = Literal["clinical", "source"]


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A tree of concepts below one unnamed root, which is never an answer and never an ancestor.

    The concepts must form a tree and their names must not clash; `load_taxonomy` checks both. Only one
    kind of shared name is allowed: a group and something inside it. Such a name means the inner one; the
    group has its id. Where two names differ and only fold together, each still means itself when it is spelt
    exactly so.

    The tree of parents is the clinical one. `partitions` name the data set's own groupings, finest first;
    they make a second tree, the `source`. `management` says what each management group means.
    """

    name: str
    version: str
    concepts: Mapping[str, Concept]
    note: str = "Not clinically validated. Research use only."
    partitions: tuple[str, ...] = ()
    management: Mapping[str, str] = field(default_factory=dict)
    _lines: dict[str, tuple[Concept, ...]] = field(init=False, repr=False)
    _children: dict[str | None, list[Concept]] = field(init=False, repr=False)
    _same: dict[str, str] = field(init=False, repr=False)
    _twins: dict[str, list[str]] = field(init=False, repr=False)
    _matcher: Matcher = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lines: dict[str, tuple[Concept, ...]] = {}
        children: dict[str | None, list[Concept]] = {}
        for concept in self.concepts.values():
            line: list[Concept] = []
            above = concept.parent
            while above is not None:
                line.append(self.concepts[above])
                above = line[-1].parent
            lines[concept.id] = tuple(line)
            children.setdefault(concept.parent, []).append(concept)
        same = _classes(self.concepts)
        twins: dict[str, list[str]] = {}
        for id, first in same.items():
            twins.setdefault(first, []).append(id)
        by_depth = sorted(self.concepts.values(), key=lambda concept: len(lines[concept.id]))
        object.__setattr__(self, "_lines", lines)
        object.__setattr__(self, "_children", children)
        object.__setattr__(self, "_same", same)
        object.__setattr__(self, "_twins", twins)
        object.__setattr__(self, "_matcher", Matcher(by_depth, same, self._related, self.risk))

    def match(self, text: str) -> Match:
        """How the text reads as a name of this taxonomy; see `Match`."""
        return self._matcher.match(text)

    def resolve(self, text: str) -> Concept | None:
        """The concept that the text names in full: its name, an alias or a slip of the pen; else None.

        What stands in parentheses is ignored, unless it negates or hedges: "melanoma (ruled out)" names
        nothing, like "not melanoma" and "melanoma?".
        """
        return self._matcher.match(text).concept

    def label(self, text: str) -> Concept | None:
        """The disease that a label of data means; None for a slip of the pen, and for a general word.

        Data is not the place to guess in, and a general word is no right answer.
        """
        found = self._matcher.match(text)
        if found.concept is None or found.how == "close" or found.concept.kind in ("group", "generic"):
            return None
        return found.concept

    def knows(self, text: str) -> bool:
        """Whether the text is a name or a reviewed alias; a slip of the pen is none."""
        found = self._matcher.match(text)
        return found.concept is not None and found.how != "close"

    def ancestors(self, concept: Concept) -> tuple[Concept, ...]:
        """The concepts above, nearest first, without the root and without the concept itself."""
        return self._lines[concept.id]

    def depth(self, concept: Concept) -> int:
        """Edges up to the root: 1 directly below it."""
        return len(self._lines[concept.id]) + 1

    def is_a(self, concept: Concept, ancestor: Concept) -> bool:
        """Whether the concept is `ancestor` or lies below it."""
        return concept.id == ancestor.id or any(above.id == ancestor.id for above in self._lines[concept.id])

    def _related(self, a: Concept, b: Concept) -> bool:
        return self.same(a, b) or self.is_a(a, b) or self.is_a(b, a)

    def representative(self, concept: Concept) -> Concept:
        """The concept that stands for the disease: the first label among those that are the same."""
        return self.concepts[self._same[concept.id]]

    def same(self, a: Concept, b: Concept) -> bool:
        """Whether both are one disease: the same concept, or `same_as` each other."""
        return self._same[a.id] == self._same[b.id]

    def subtype(self, concept: Concept, of: Concept) -> bool:
        """Whether the concept is a form of the disease `of` (below it, or so declared) and not itself it.

        A form of a form counts too. A general word has no subtypes, because it is no disease.
        """
        return of.kind not in ("group", "generic") and self._same[of.id] in self.form_of(concept)

    def form_of(self, concept: Concept) -> frozenset[str]:
        """Ids of the representatives of all that the concept lies below or is a declared form of."""
        found: set[str] = set()
        waiting = [concept.id]
        while waiting:
            id = waiting.pop()
            twins = [self.concepts[other] for other in self._twins[self._same[id]]]
            above = {each.id for twin in twins for each in self._lines[twin.id]}
            above.update(other for twin in twins for other in twin.subtype_of)
            waiting += above - found
            found |= above
        return frozenset(self._same[each] for each in found) - {self._same[concept.id]}

    def shared(self, a: Concept, b: Concept) -> int:
        """How many concepts lie on both lines to the root, the two themselves included."""
        first = {a.id, *(above.id for above in self._lines[a.id])}
        return (b.id in first) + sum(above.id in first for above in self._lines[b.id])

    def distance(self, a: Concept, b: Concept) -> int:
        """Edges on the path from `a` up to the lowest common ancestor and down to `b`.

        The tree distance: symmetric, 0 only for a concept and itself, and obeys the triangle inequality.
        The root counts as a common ancestor here.
        """
        return self.depth(a) + self.depth(b) - 2 * self.shared(a, b)

    def similarity(self, a: Concept, b: Concept) -> float:
        """Shared concepts on the two lines to the root, divided by all concepts on them, in [0, 1].

        The Jaccard index of the lines: 1 only for a concept and itself, 0 when only the root is shared. It
        never falls when the distance shrinks and no shared concept is lost.
        """
        shared = self.shared(a, b)
        return shared / (self.depth(a) + self.depth(b) - shared)

    def children(self, concept: Concept | None = None) -> tuple[Concept, ...]:
        """The concepts directly below; below the root when none is given."""
        return tuple(self._children.get(concept.id if concept else None, ()))

    def leaves(self) -> tuple[Concept, ...]:
        """All concepts with nothing below them, in the order of the file."""
        return tuple(c for c in self.concepts.values() if c.id not in self._children)

    def labels(self) -> tuple[Concept, ...]:
        """The classes of the data set, in the order of the file."""
        return tuple(c for c in self.concepts.values() if c.kind == "label")

    def group(self, concept: Concept, partition: str) -> str | None:
        """The concept's group of a partition: its own, that of the nearest above, or of all below it."""
        for each in (concept, *self._lines[concept.id]):
            if partition in each.groups:
                return each.groups[partition]
        below = {label.groups.get(partition) for label in self.labels() if self.is_a(label, concept)}
        return below.pop() if len(below) == 1 else None

    def risk(self, concept: Concept) -> str | None:
        """The concept's risk class, its own or that of the nearest concept above that has one."""
        return next((c.risk for c in (concept, *self._lines[concept.id]) if c.risk is not None), None)

    def infectious(self, concept: Concept) -> bool | None:
        """Whether it is an infection or infestation; None where neither that nor a risk class is known."""
        for each in (concept, *self._lines[concept.id]):
            if each.infectious is not None:
                return each.infectious
            if each.risk is not None:
                return each.risk == "infectious"
        return None

    def management_of(self, concept: Concept) -> str | None:
        """The concept's management group, its own or that of the nearest concept above that has one."""
        return next((c.management for c in (concept, *self._lines[concept.id]) if c.management), None)

    def path(self, concept: Concept, tree: TreeName = "clinical") -> tuple[str, ...]:
        """The nodes from below the root down to the concept.

        In the clinical tree these are ids, and concepts that are the same disease are one node. In the
        source tree they are the groups of the data set, the coarsest first and led by the partition's name,
        then the label; a form of a label lies below it, and a general word ends where the labels below it
        part. () where the source tree has no place for the concept.
        """
        if tree == "clinical":
            concept = self.representative(concept)
            return tuple(self._same[c.id] for c in reversed((concept, *self._lines[concept.id])))
        coarse_first = reversed(self.partitions)
        groups = [(name, self.group(concept, name)) for name in coarse_first]
        known: list[str] = []
        for name, value in groups:
            if value is None:
                break
            known.append(f"{name}:{value}")
        if concept.kind in ("group", "generic"):
            return tuple(known)
        if len(known) < len(groups):
            return ()
        form_of = () if concept.kind == "label" else self._lines[concept.id]
        label = next((above for above in form_of if above.kind == "label"), None)
        return (*known, *([label.id] if label else []), concept.id)

    def __len__(self) -> int:
        return len(self.concepts)


def _classes(concepts: Mapping[str, Concept]) -> dict[str, str]:
    """Id -> id of the concept that stands for its disease: the first label of those that are the same."""
    root = {id: id for id in concepts}

    def find(id: str) -> str:
        while root[id] != id:
            id = root[id]
        return id

    for concept in concepts.values():
        for other in concept.same_as:
            root[find(other)] = find(concept.id)
    members: dict[str, list[Concept]] = {}
    for concept in concepts.values():
        members.setdefault(find(concept.id), []).append(concept)
    first = {
        key: next((each for each in group if each.kind == "label"), group[0]).id
        for key, group in members.items()
    }
    return {id: first[find(id)] for id in concepts}

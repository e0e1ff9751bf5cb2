"""A tree of diagnoses, and the strict reading of a name in it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from skinflow_plugins.diagnosis.folding import LONGEST_NAME, doubtful, fold, without_parentheses


@dataclass(frozen=True, slots=True)
class Concept:
    """One node of a taxonomy; `parent` is the parent's id, None directly below the root."""

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    parent: str | None = None


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A tree of concepts below one unnamed root, which is never an answer and never an ancestor.

    The concepts must form a tree and their names must not clash; `load_taxonomy` checks both. Only one
    kind of shared name is allowed: a group and something inside it, as Fitzpatrick17k has a group and a
    label called "malignant melanoma". Such a name means the inner one; the group has its id. Where two names
    differ and only fold together, each still means itself when it is spelt exactly so.
    """

    name: str
    version: str
    concepts: Mapping[str, Concept]
    note: str = "Not clinically validated. Research use only."
    _lines: dict[str, tuple[Concept, ...]] = field(init=False, repr=False)
    _names: dict[str, Concept] = field(init=False, repr=False)
    _exact: dict[str, Concept] = field(init=False, repr=False)
    _children: dict[str | None, list[Concept]] = field(init=False, repr=False)

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
        names: dict[str, Concept] = {}
        exact: dict[str, Concept] = {}
        for concept in sorted(self.concepts.values(), key=lambda c: len(lines[c.id])):
            for key in keys_of(concept):  # the deeper ones come later and win
                names[key] = concept
            exact[concept.name] = concept
        object.__setattr__(self, "_lines", lines)
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_exact", exact)
        object.__setattr__(self, "_children", children)

    def resolve(self, text: str) -> Concept | None:
        """The concept that the text names, after folding, by its name or an alias in full; else None.

        There is no substring, word-set or fuzzy match. What stands in parentheses is ignored, unless it
        negates or hedges: "melanoma (ruled out)" names nothing, like "not melanoma" and "melanoma?".
        """
        if len(text) > LONGEST_NAME:
            return None
        found = self._exact.get(text) or self._names.get(fold(text))
        if found is not None or not text or ("(" not in text and "[" not in text) or doubtful(text):
            return found
        return self._names.get(fold(without_parentheses(text)))

    def knows(self, text: str) -> bool:
        """Whether the text names a concept."""
        return self.resolve(text) is not None

    def ancestors(self, concept: Concept) -> tuple[Concept, ...]:
        """The concepts above, nearest first, without the root and without the concept itself."""
        return self._lines[concept.id]

    def depth(self, concept: Concept) -> int:
        """Edges up to the root: 1 directly below it."""
        return len(self._lines[concept.id]) + 1

    def is_a(self, concept: Concept, ancestor: Concept) -> bool:
        """Whether the concept is `ancestor` or lies below it."""
        return concept.id == ancestor.id or any(above.id == ancestor.id for above in self._lines[concept.id])

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

    def __len__(self) -> int:
        return len(self.concepts)


def keys_of(concept: Concept) -> Iterable[str]:
    """Every folded spelling that names the concept, each once."""
    return _keys(concept.name, *concept.aliases)


@functools.lru_cache(maxsize=16384)
def _keys(*texts: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for text in texts:
        found[fold(text)] = None
        if "(" in text or "[" in text:
            found[fold(without_parentheses(text))] = None
    return tuple(found)

"""A taxonomy as arrays: every concept has a number, and each question about two concepts is one look-up."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy, TreeName
from skinflow_plugins.diagnosis.tree import TreeIndex

Bools = NDArray[np.bool_]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Tree:
    """One tree of the taxonomy: `node` (concepts,) is each concept's node, -1 where it has none.

    `height_of` (nodes + 1,) are the nodes' heights, the root's last. In the source tree every label has
    height 0 and each partition is one step, whatever answers lie below the labels.
    """

    index: TreeIndex
    node: Ints
    height_of: NDArray[np.float64]

    def height(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        """The height of the lowest common ancestor; 0 for a node and itself, the root's for no node."""
        return self.index.lca_height(a, b, self.height_of)


@dataclass(frozen=True)
class ConceptTable:
    """Arrays over the concepts of a taxonomy, in its own order.

    `accepted` maps a level to (concepts, concepts): whether the row is accepted where the column is true.
    `crossing` (concepts, concepts) says whether calling the column the row crosses between malignant and not,
    or between infectious and not; a premalignant or unknown side crosses nothing. `known` (concepts,) says
    which have a risk class.
    """

    taxonomy: Taxonomy
    concepts: Sequence[Concept]
    number: Mapping[str, int]
    accepted: Mapping[str, Bools]
    crossing: Bools
    known: Bools
    malignant: Bools
    premalignant: Bools
    emergency: Bools
    trees: Mapping[str, Tree]

    @property
    def levels(self) -> tuple[str, ...]:
        """All levels of acceptance, the strictest first."""
        return ("strict", *self.accepted)


@functools.lru_cache(maxsize=8)
def concept_table(taxonomy: Taxonomy) -> ConceptTable:
    """The arrays of a taxonomy; kept for the next call."""
    concepts = tuple(taxonomy.concepts.values())
    number = {concept.id: i for i, concept in enumerate(concepts)}
    risk = np.array([taxonomy.risk(c) or "" for c in concepts])
    infectious = [taxonomy.infectious(c) for c in concepts]
    malignant, premalignant = risk == "malignant", risk == "premalignant"
    sided = (risk != "") & ~premalignant
    known = np.array([each is not None for each in infectious])
    infected = np.array([bool(each) for each in infectious])
    crossing = (malignant[:, None] != malignant) & sided[:, None] & sided
    crossing |= (infected[:, None] != infected) & known[:, None] & known
    trees = {"clinical": _tree(taxonomy, concepts, "clinical")}
    if taxonomy.partitions:
        trees["source"] = _tree(taxonomy, concepts, "source")
    return ConceptTable(
        taxonomy,
        concepts,
        number,
        _accepted(taxonomy, concepts),
        crossing,
        risk != "",
        malignant,
        premalignant,
        risk == "emergency",
        trees,
    )


def _accepted(taxonomy: Taxonomy, concepts: Sequence[Concept]) -> dict[str, Bools]:
    same = _equal([taxonomy.representative(c).id for c in concepts])
    subtype = same.copy()
    forms = [taxonomy.form_of(c) for c in concepts]
    stands_for = [taxonomy.representative(c).id for c in concepts]
    for i, found in enumerate(forms):
        for j, concept in enumerate(concepts):
            if stands_for[j] in found and concept.kind not in ("group", "generic"):
                subtype[i, j] = True
    levels = {"synonym": same, "subtype": subtype}
    management = [taxonomy.management_of(c) for c in concepts]
    if any(management):
        levels["management"] = subtype | _equal(management)
    for partition in taxonomy.partitions:
        levels[partition] = same | _equal([taxonomy.group(c, partition) for c in concepts])
    return levels


def _equal(values: Sequence[Any]) -> Bools:
    """(n, n): whether two values are the same; None equals nothing."""
    names = {value: i for i, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
    codes = np.array([-1 if value is None else names[value] for value in values])
    found: Bools = (codes[:, None] == codes) & (codes >= 0)
    return found


def _tree(taxonomy: Taxonomy, concepts: Sequence[Concept], which: TreeName) -> Tree:
    nodes: dict[tuple[str, ...], int] = {}
    parents: list[int] = []
    of_concept = []
    for concept in concepts:
        path = taxonomy.path(concept, which)
        node = -1
        for depth in range(1, len(path) + 1):
            above, node = node, nodes.setdefault(path[:depth], len(parents))
            if node == len(parents):
                parents.append(above)
        of_concept.append(node)
    index = TreeIndex.from_parents(parents)
    if which == "clinical":
        heights = np.append(index.heights, index.height)
    else:
        levels = len(taxonomy.partitions) + 1
        heights = np.append(np.maximum(levels - index.depth, 0), levels)
    return Tree(index, np.array(of_concept, dtype=np.int32), heights.astype(float))

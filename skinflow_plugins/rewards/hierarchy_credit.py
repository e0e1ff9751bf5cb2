"""The reward `hierarchy_credit`: how near the first diagnosis is, beyond what a constant is."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.listed import read_listed
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import true_concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return write_ranked_list([sample["diagnosis"]])


@reward("hierarchy_credit", low=-1.0, needs=("diagnosis",), reference=_reference)
def hierarchy_credit(
    answer: str,
    *,
    taxonomy: str,
    list_length: int = 6,
    cap: float = 0.5,
    counts: Mapping[str, float] | None = None,
    **sample: Any,
) -> Score:
    """How near the first diagnosis is to the truth, by shared information; 0 is the best constant answer.

    The right disease has nearness 1. Another has `cap` times Lin's similarity 2 IC(c) / (IC(a) + IC(t)) (Lin
    1998), where c is the lowest common ancestor and IC(c) = -log of the share of samples below c: a heading
    that half of all samples lie under says little, so it earns little. General words and headings, and
    whatever is void or unknown at the first rank, have nearness 0: a general word is a hedge, and no near
    miss.

    From the nearness n the value is (n - b) / max(1 - b, b), where b is the mean nearness of the best
    constant answer. Whatever one name is given to all samples, it earns at most 0 in the mean (always
    "psoriasis" earned .66 at the level of nine groups before). The right diagnosis earns 1 where b is at most
    one half.

    `counts` are samples by label, for shares and b; uniform over the labels of the taxonomy unless given.
    Give those of the training data when they are far from uniform, after balancing. The first `list_length`
    items are read, of which the first counts: credit for the nearest of several would pay for listing one
    of each branch.
    """
    if list_length < 1:
        raise ValueError(f"option list_length must be at least 1, found {list_length}")
    tree = load_taxonomy(taxonomy)
    table = credit_table(tree, cap, None if counts is None else tuple(counts.items()))
    truth = true_concept(sample, tree)
    listed = read_listed(answer, list_length, tree)
    first = listed.found[0] if listed.found else None
    if first is None or listed.general[0]:
        said = f"{first.name} is a general word" if first else "the first item is void or unknown"
        return Score(
            table.nothing, listed.names, f"{said}: nearness 0, a constant answer has {table.chance:.2f}"
        )
    value, nearness = table.value(first.id, truth.id)
    what = "is right" if tree.same(first, truth) else f"shares {nearness:.2f} with {truth.name}"
    return Score(value, listed.names, f"{first.name} {what}; a constant answer has {table.chance:.2f}")


@dataclass(frozen=True, eq=False)
class CreditTable:
    """The nearness of any two concepts, and what the best constant answer has in the mean (`chance`).

    `best` is that answer. `nearness` is (concepts, concepts), answers by truths, in the order of `number`.
    """

    number: Mapping[str, int]
    nearness: NDArray[np.float64]
    chance: float
    best: str

    def value(self, answer: str, truth: str) -> tuple[float, float]:
        """The value of an answer, and its nearness to the truth; both are ids."""
        nearness = float(self.nearness[self.number[answer], self.number[truth]])
        return self.corrected(nearness), nearness

    @property
    def nothing(self) -> float:
        """The value of an answer that says nothing."""
        return self.corrected(0.0)

    def corrected(self, nearness: float) -> float:
        """The value of a nearness: 0 for what the best constant answer has in the mean."""
        return (nearness - self.chance) / max(1 - self.chance, self.chance)


@functools.lru_cache(maxsize=16)
def credit_table(tree: Taxonomy, cap: float, counts: tuple[tuple[str, float], ...] | None) -> CreditTable:
    """The table of a taxonomy; `ValueError` for a cap or counts that make no sense."""
    import numpy as np

    from skinflow_plugins.diagnosis.evaluation.concept_table import concept_table
    from skinflow_plugins.diagnosis.evaluation.nearness import information_content

    if not 0 <= cap < 1:
        raise ValueError(f"option cap must be at least 0 and below 1, found {cap}")
    arrays = concept_table(tree)
    weight = np.zeros(len(arrays.concepts))
    for id, count in _counted(tree, counts).items():
        weight[arrays.number[id]] += count
    weight /= weight.sum()
    clinical = arrays.trees["clinical"]
    at_node = np.zeros(len(clinical.index))
    np.add.at(at_node, clinical.node, weight)
    content = information_content(clinical, at_node)
    nearness = cap * clinical.index.lin(clinical.node[:, None], clinical.node, content)
    nearness[clinical.node[:, None] == clinical.node] = 1.0  # one disease is one node
    heading = np.array([concept.kind in ("group", "generic") for concept in arrays.concepts])
    nearness[heading] = 0.0
    means = nearness @ weight
    best = int(means.argmax())
    return CreditTable(arrays.number, nearness, float(means[best]), arrays.concepts[best].id)


def _counted(tree: Taxonomy, counts: tuple[tuple[str, float], ...] | None) -> dict[str, float]:
    """Samples by id of the label."""
    if counts is None:
        return {label.id: 1.0 for label in tree.labels()}
    found: dict[str, float] = {}
    for name, count in counts:
        concept = tree.label(name)
        if concept is None:
            hint = nearest(name, (label.name for label in tree.labels()))
            raise ValueError(f"option counts: the taxonomy {tree.name!r} has no diagnosis {name!r}; {hint}")
        if not (math.isfinite(count) and count >= 0):
            raise ValueError(f"option counts: {name!r} must be finite and not negative, found {count}")
        found[concept.id] = found.get(concept.id, 0.0) + count
    if not sum(found.values()) > 0:
        raise ValueError("option counts: there are no samples in it")
    return found

"""The reward `ranked_diagnosis`: a short ranked list that should hold the right diagnosis near its top."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.answers import parse_answer, write_ranked_list
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import listed_concepts, true_concept


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return write_ranked_list([sample["diagnosis"]])


@reward("ranked_diagnosis", needs=("diagnosis",), reference=_reference)
def ranked_diagnosis(
    answer: str,
    *,
    taxonomy: str,
    list_length: int = 6,
    by_rank: Sequence[float] | None = None,
    near: float = 0.1,
    **sample: Any,
) -> Score:
    """Credit by the rank of the right diagnosis in the list; a little for a first diagnosis nearby.

    Only the first `list_length` items count. The right diagnosis at rank r earns `by_rank[r-1]`, or 1/r
    without `by_rank`; a rank past its end earns 0. Void, unknown and repeated items earn nothing and keep
    their rank. When no item is right, the first item that is not void earns `near` times its similarity to
    the truth (see `Taxonomy.similarity`, below 1), but never more than the right diagnosis would at the last
    rank: a near miss never beats a hit.
    """
    credit = _credit(by_rank, list_length)
    if not 0 <= near <= 1:
        raise ValueError(f"option near must lie in [0, 1], found {near}")
    tree = load_taxonomy(taxonomy)
    truth = true_concept(sample, tree)
    listed = listed_concepts(answer, list_length, tree)
    read = [concept.name if concept else None for concept in listed]
    for rank, concept in enumerate(listed, 1):
        if concept is not None and tree.same(concept, truth):
            return Score(credit[rank - 1], read, f"{truth.name} at rank {rank}")
    item = next(filter(None, parse_answer(answer, list_length, known=tree.knows)), None)
    if item is None:
        return Score(0.0, read, "no diagnosis could be read")
    first = tree.resolve(item)
    if first is None:
        return Score(0.0, read, f"{truth.name} is not listed; the first item is not in the taxonomy")
    similarity = tree.similarity(first, truth)
    value = min(near * similarity, credit[-1])
    return Score(value, read, f"{truth.name} is not listed; {first.name} is {similarity:.2f} similar")


def _credit(by_rank: Sequence[float] | None, list_length: int) -> list[float]:
    """The credit at each rank of the list, checked."""
    if list_length < 1:
        raise ValueError(f"option list_length must be at least 1, found {list_length}")
    if by_rank is None:
        return [1 / rank for rank in range(1, list_length + 1)]
    credit = [float(value) for value in by_rank]
    falling = all(a >= b for a, b in itertools.pairwise(credit))
    if not (credit and falling and credit[0] <= 1 and credit[-1] >= 0):
        raise ValueError(f"option by_rank must be one or more values in [0, 1] that never rise: {credit}")
    return (credit + [0.0] * list_length)[:list_length]

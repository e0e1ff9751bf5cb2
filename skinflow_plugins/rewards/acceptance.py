"""Which listed diagnoses are accepted as the right one."""

from __future__ import annotations

from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.listed import Listed
from skinflow_plugins.diagnosis.taxonomy import Taxonomy


def accepts(concept: Concept, truth: Concept, tree: Taxonomy, *, subtypes: bool = False) -> bool:
    """Whether the concept is the right disease, or with `subtypes` a form of it that is no label itself.

    A form that is a label ("lentigo maligna" beside "melanoma") would otherwise dominate the general label:
    it would be right for itself and for the other. For the same reason a form of such a label is a form of
    that one alone: "generalized pustular psoriasis" of "pustular psoriasis", where that is a label too.
    """
    if tree.same(concept, truth):
        return True
    if not subtypes or concept.kind != "answer" or not tree.subtype(concept, truth):
        return False
    between = (tree.concepts[id] for id in tree.form_of(concept))
    return not any(is_label(each) and tree.subtype(each, truth) for each in between)


def first_accepted(listed: Listed, truth: Concept, tree: Taxonomy, *, subtypes: bool = False) -> int | None:
    """The rank of the first accepted diagnosis, counted from 1; None where there is none."""
    for rank, concept in enumerate(listed.concepts, 1):
        if concept is not None and accepts(concept, truth, tree, subtypes=subtypes):
            return rank
    return None


def to_be_judged(listed: Listed, before: int | None) -> list[int]:
    """The ranks, counted from 1, of the items that a judge can say something new about.

    These stand before the rank `before`, and are neither void, nor general words, nor repetitions.
    """
    ranks: list[int] = []
    seen: set[str] = set()
    for rank, item in enumerate(listed.items[: None if before is None else before - 1], 1):
        found = listed.found[rank - 1]
        repeated = found is not None and listed.concepts[rank - 1] is None
        if item and not listed.general[rank - 1] and not repeated and fold(item) not in seen:
            ranks.append(rank)
            seen.add(fold(item))
    return ranks


def is_label(concept: Concept | None) -> bool:
    """Whether it is a class of the data set."""
    return concept is not None and concept.kind == "label"

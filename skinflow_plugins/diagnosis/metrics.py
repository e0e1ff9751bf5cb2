"""Metrics over predictions: what a gate and a report read. A metric counts as the rewards do."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.declare import metric
from skinflow_plugins.diagnosis.answers import parse_answer
from skinflow_plugins.diagnosis.caption_claims import read_claims
from skinflow_plugins.diagnosis.caption_lexicon import lexicon
from skinflow_plugins.diagnosis.caption_scoring import compare
from skinflow_plugins.diagnosis.captions import value_key
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.listed import read_listed
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.taxonomy import Concept, Taxonomy
from skinflow_plugins.errors import nearest


@metric("diagnosis_top1")
def diagnosis_top1(predictions: Sequence[Prediction], *, taxonomy: str) -> float:
    """Share of answers whose first diagnosis is the right one; 0 to 1, chance is the best constant answer."""
    return _top_k(predictions, 1, taxonomy)


@metric("diagnosis_top_k")
def diagnosis_top_k(predictions: Sequence[Prediction], *, k: int = 6, taxonomy: str) -> float:
    """Share of answers that list the right diagnosis among their first k; 0 to 1.

    Chance is the best constant list of k names. A void item or a repeated name uses up its place in the list.
    """
    if k < 1:
        raise ValueError(f"diagnosis_top_k: k must be at least 1, found {k}")
    return _top_k(predictions, k, taxonomy)


@metric("caption_field_f1", task="caption")
def caption_field_f1(
    predictions: Sequence[Prediction],
    *,
    fields: Mapping[str, Sequence[str]],
    vocabulary: str = "dermatology",
) -> float:
    """Mean over answers of the mean F1 between claimed and right values of a caption field; 0 to 1.

    Chance is the constant caption of the most frequent values. Counted as by the reward `caption_fields` with
    equal weights; see `caption_scores`.
    """
    total = 0.0
    for prediction in _some(predictions):
        scores = caption_scores(prediction.answer, prediction.sample, fields, vocabulary)
        total += sum(scores.values()) / len(scores)
    return total / len(predictions)


@metric("distinct_first_answers")
def distinct_first_answers(predictions: Sequence[Prediction], *, taxonomy: str) -> float:
    """Number of different first diagnoses over all answers; 1 means that the model always says the same.

    A name that the taxonomy does not know counts by its folded spelling. 0 when no answer names anything.
    """
    tree = load_taxonomy(taxonomy)
    seen = set()
    for prediction in _some(predictions):
        first = next(filter(None, parse_answer(prediction.answer, 1, known=tree.knows)), None)
        if first is not None:
            concept = tree.resolve(first)
            seen.add(("concept", concept.id) if concept else ("text", fold(first)))
    return float(len(seen))


@metric("unparsed_share")
def unparsed_share(predictions: Sequence[Prediction], *, k: int = 6, taxonomy: str) -> float:
    """Share of answers in which no diagnosis of the taxonomy can be read; 0 to 1, LOWER is better.

    To be shown beside an accuracy; it is no gate.
    """
    tree = load_taxonomy(taxonomy)
    unread = sum(not any(listed_concepts(p.answer, k, tree)) for p in _some(predictions))
    return unread / len(predictions)


def listed_concepts(answer: str, limit: int, tree: Taxonomy) -> list[Concept | None]:
    """The concepts of a ranked answer by rank; None at a rank that is void, unknown or a repetition."""
    return list(read_listed(answer, limit, tree).concepts)


def true_concept(sample: Mapping[str, Any], tree: Taxonomy) -> Concept:
    """The concept of a sample's diagnosis; `ValueError` naming the sample when the taxonomy lacks it."""
    label = sample.get("diagnosis")
    concept = tree.label(label) if isinstance(label, str) else None
    if concept is None and isinstance(label, str) and tree.knows(label):
        raise ValueError(
            f"sample {sample.get('id', '?')}: its diagnosis {label!r} is a general word of the taxonomy "
            f"{tree.name!r} and no diagnosis; give the disease, or leave the sample out"
        )
    if concept is None:
        known = (each.name for each in tree.concepts.values())
        hint = nearest(label, known) if isinstance(label, str) else "expected a name"
        raise ValueError(
            f"sample {sample.get('id', '?')}: the taxonomy {tree.name!r} does not know its diagnosis "
            f"{label!r}; {hint}"
        )
    return concept


def caption_scores(
    answer: str,
    sample: Mapping[str, Any],
    fields: Mapping[str, Sequence[str]],
    vocabulary: str = "dermatology",
) -> dict[str, float]:
    """F1 between the values that the answer claims and the right ones, for each field of the reference.

    `sample["caption"]` is the reference. A distinct value that the field's schema does not have is one
    wrong value, and all values of a field are none; see `caption_scoring.compare` for what else a claim is.
    Raises `ValueError` naming the sample for a reference that does not fit the schema.
    """
    words = lexicon(fields, vocabulary)
    scores = compare(read_claims(answer, words), reference_caption(sample, fields), words)
    return {name: score.value for name, score in scores.items()}


def reference_caption(sample: Mapping[str, Any], fields: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """The right values of a sample by field, as the schema spells them; empty fields are left out."""
    who = f"sample {sample.get('id', '?')}"
    given = sample.get("caption")
    if not isinstance(given, Mapping):
        raise ValueError(f"{who}: `caption` must map fields to lists of values, found {given!r}")
    schema = _by_key(tuple(fields))
    right: dict[str, set[str]] = {}
    for name, values in given.items():
        field = schema.get(value_key(name))
        if field is None:
            raise ValueError(f"{who}: its caption has the unknown field {name!r}; {nearest(name, fields)}")
        known = _by_key(tuple(fields[field]))
        for value in [values] if isinstance(values, str) else values or ():
            if value_key(value) not in known:
                hint = nearest(value, fields[field])
                raise ValueError(f"{who}: its caption has {field!r} = {value!r}, not in the schema; {hint}")
            right.setdefault(field, set()).add(known[value_key(value)])
    if not right:
        raise ValueError(f"{who}: its caption has no value in any field")
    return right


@functools.lru_cache(maxsize=1024)
def _by_key(texts: tuple[str, ...]) -> Mapping[str, str]:
    return {value_key(text): text for text in texts}


def _top_k(predictions: Sequence[Prediction], k: int, taxonomy: str) -> float:
    tree = load_taxonomy(taxonomy)
    hits = 0
    for prediction in _some(predictions):
        truth = true_concept(prediction.sample, tree)
        hits += any(c and tree.same(c, truth) for c in listed_concepts(prediction.answer, k, tree))
    return hits / len(predictions)


def _some(predictions: Sequence[Prediction]) -> Sequence[Prediction]:
    if not predictions:
        raise ValueError("there are no predictions to score")
    return predictions

"""The reward `confidence`: a proper scoring rule, under which a model does best to say what it believes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.diagnosis.confidences import stated_probabilities, write_with_confidences
from skinflow_plugins.diagnosis.listed import read_listed
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.metrics import true_concept


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return write_with_confidences([(sample["diagnosis"], 1.0)])


@reward("confidence", low=-1.0, needs=("diagnosis",), reference=_reference)
def confidence(
    answer: str,
    *,
    taxonomy: str,
    list_length: int = 6,
    rule: Literal["quadratic", "logarithmic"] = "quadratic",
    floor: float = 0.01,
    **sample: Any,
) -> Score:
    """A proper scoring rule, in [-1, 1]: stating what one believes has the best expected value.

    Each of at most `list_length` items may carry a probability: `melanoma (0.7); nevus (20%)`, `melanoma:
    0.7`, or `[{"diagnosis": "melanoma", "confidence": 0.7}]`. With p_i for the listed diseases and p for the
    right one, 0 where it is not listed:

    `quadratic`: 2 p - sum of p_i^2 (Brier 1950, Selten 1998). Strictly proper: of all lists that may be
    written, the one with the true probabilities of its diseases has the best expectation. A sure mistake
    earns -1, next to no probability for anything about 0.

    `logarithmic`: 1 - 2 ln(max(p, floor)) / ln(floor): 1 for p = 1, and -1 at and below `floor` (Good 1952),
    so that one bad miss costs no more than one sure hit brings. It looks at the right disease alone. Strictly
    proper as long as no listed disease is less probable than about e times the floor; such a one does better
    unlisted.

    An item without a probability has none, p_i = 0. General words and names that the taxonomy does not know
    are diseases that are never right. What one disease is given twice is added up. An answer without any
    probability earns -1 by either rule, because leaving them out must be no way around it; and so does one
    whose probabilities add up to more than 1, or that lists more than was asked for: what it states cannot be
    cut off without changing it. To know nothing and say so, with small probabilities, earns about 0 by the
    quadratic rule.
    """
    if list_length < 1:
        raise ValueError(f"option list_length must be at least 1, found {list_length}")
    if rule not in ("quadratic", "logarithmic"):
        raise ValueError(f"option rule must be 'quadratic' or 'logarithmic', found {rule!r}")
    if not 0 < floor < 1:
        raise ValueError(f"option floor must be above 0 and below 1, found {floor}")
    tree = load_taxonomy(taxonomy)
    truth = true_concept(sample, tree)
    listed = read_listed(answer, list_length, tree)
    stated = stated_probabilities(listed, tree)
    if listed.beyond_limit:
        why = f"{list_length + listed.beyond_limit} items are listed, at most {list_length} are asked for"
        return Score(-1.0, stated.by_disease, why)
    if not stated.by_disease:
        return Score(-1.0, {}, "no probability is stated")
    if not stated.possible:
        return Score(-1.0, stated.by_disease, f"the probabilities add up to {stated.total:.3g}, more than 1")
    p = min(stated.of(truth, tree), 1.0)
    if rule == "quadratic":
        value = 2 * p - sum(each * each for each in stated.by_disease.values())
    else:
        value = 1 - 2 * math.log(max(p, floor)) / math.log(floor)
    why = f"{truth.name} has {p:.3g} of {stated.total:.3g}"
    return Score(min(max(value, -1.0), 1.0), dict(stated.by_disease), why)

"""What a synthetic lesion can look like: caption fields, diagnoses, and how often each diagnosis shows what.

The shares are made up so that a picture tells most of the diagnosis; they are no epidemiology.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

CAPTION_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "colour": ("black", "blue", "brown", "pink", "red"),
        "border": ("sharp", "irregular", "blurred", "haloed"),
        "surface": ("smooth", "scaly", "dotted", "glossy"),
        "size": ("small", "medium", "large"),
        "shape": ("round", "oval", "lobed"),
        "position": ("left", "central", "right"),
    }
)
"""Field -> its values; no value stands in two fields. `position` is the place in the picture."""

# diagnosis -> field -> percent for each value, in the order of CAPTION_FIELDS
_PERCENT: dict[str, dict[str, tuple[int, ...]]] = {
    "common nevus": {
        "colour": (2, 0, 93, 5, 0),
        "border": (95, 1, 4, 0),
        "surface": (97, 0, 2, 1),
        "size": (64, 31, 5),
        "shape": (72, 24, 4),
        "position": (30, 40, 30),
    },
    "halo nevus": {
        "colour": (3, 0, 60, 35, 2),
        "border": (0, 0, 1, 99),
        "surface": (55, 0, 44, 1),
        "size": (52, 42, 6),
        "shape": (60, 34, 6),
        "position": (30, 40, 30),
    },
    "seborrheic keratosis": {
        "colour": (16, 0, 83, 1, 0),
        "border": (90, 5, 5, 0),
        "surface": (1, 86, 13, 0),
        "size": (12, 50, 38),
        "shape": (20, 62, 18),
        "position": (30, 40, 30),
    },
    "melanoma": {
        "colour": (60, 38, 2, 0, 0),
        "border": (2, 94, 4, 0),
        "surface": (38, 0, 53, 9),
        "size": (6, 40, 54),
        "shape": (12, 28, 60),
        "position": (30, 40, 30),
    },
    "basal cell carcinoma": {
        "colour": (0, 17, 1, 80, 2),
        "border": (16, 4, 79, 1),
        "surface": (5, 0, 2, 93),
        "size": (42, 46, 12),
        "shape": (52, 30, 18),
        "position": (30, 40, 30),
    },
    "psoriasis": {
        "colour": (0, 0, 1, 7, 92),
        "border": (38, 43, 19, 0),
        "surface": (2, 97, 1, 0),
        "size": (6, 28, 66),
        "shape": (20, 40, 40),
        "position": (30, 40, 30),
    },
}

DIAGNOSES: tuple[str, ...] = tuple(_PERCENT)
"""The leaves of the taxonomy `demo`; every one has the same share in every split."""

SHARES: Mapping[str, Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        diagnosis: MappingProxyType({name: tuple(p / 100 for p in row) for name, row in fields.items()})
        for diagnosis, fields in _PERCENT.items()
    }
)
"""Diagnosis -> field -> probability of each value; the fields are independent given the diagnosis."""


def shares_with_ambiguity(ambiguity: float) -> dict[tuple[str, str], float]:
    """(true diagnosis, diagnosis it looks like) -> probability of the look given the true one."""
    other = ambiguity / (len(DIAGNOSES) - 1)
    return {(a, b): 1 - ambiguity if a == b else other for a, b in itertools.product(DIAGNOSES, repeat=2)}


def posterior(values: Mapping[str, str], ambiguity: float = 0.05) -> dict[str, float]:
    """Probability of each diagnosis given some of the fields, exact, with equal shares beforehand.

    Raises `ValueError` for values that no diagnosis shows together.
    """
    seen = {name: CAPTION_FIELDS[name].index(value) for name, value in values.items()}
    likelihood = {d: math.prod(SHARES[d][name][i] for name, i in seen.items()) for d in DIAGNOSES}
    looks = shares_with_ambiguity(ambiguity)
    joint = {a: sum(looks[a, b] * likelihood[b] for b in DIAGNOSES) for a in DIAGNOSES}
    total = math.fsum(joint.values())
    if not total:
        raise ValueError(f"no diagnosis shows {dict(values)} with ambiguity {ambiguity}")
    return {d: value / total for d, value in joint.items()}


def bayes_top1(ambiguity: float = 0.05, fields: Sequence[str] | None = None) -> float:
    """The best top-1 accuracy that anything can have that sees the given fields (default: all) without error.

    Exact: the sum over all combinations of values of the largest joint probability.
    """
    names = tuple(CAPTION_FIELDS) if fields is None else tuple(fields)
    looks = shares_with_ambiguity(ambiguity)
    best = []
    for indices in itertools.product(*(range(len(CAPTION_FIELDS[name])) for name in names)):
        likelihood = [
            math.prod(SHARES[d][name][i] for name, i in zip(names, indices, strict=True)) for d in DIAGNOSES
        ]
        best.append(
            max(sum(looks[a, b] * p for b, p in zip(DIAGNOSES, likelihood, strict=True)) for a in DIAGNOSES)
        )
    return math.fsum(best) / len(DIAGNOSES)


def constant_caption() -> dict[str, str]:
    """The most frequent value of each field over all diagnoses: the best answer that ignores the picture."""
    return {name: values[_most(name)[0]] for name, values in CAPTION_FIELDS.items()}


def constant_field_accuracy() -> float:
    """The share of fields that the constant caption gets right, the mean over the fields."""
    return math.fsum(_most(name)[1] for name in CAPTION_FIELDS) / len(CAPTION_FIELDS)


def _most(name: str) -> tuple[int, float]:
    """(index, share) of a field's most frequent value; ambiguity changes no marginal share."""
    mean = [
        math.fsum(column) / len(DIAGNOSES)
        for column in zip(*(SHARES[d][name] for d in DIAGNOSES), strict=True)
    ]
    index = max(range(len(mean)), key=mean.__getitem__)
    return index, mean[index]

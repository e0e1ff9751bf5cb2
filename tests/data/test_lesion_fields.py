"""The table of synthetic lesions, and what can be known from it exactly."""

from __future__ import annotations

import math
import random

import pytest

from skinflow_plugins.data import lesion_fields as lf


def test_no_value_stands_in_two_fields() -> None:
    values = [value for field in lf.CAPTION_FIELDS.values() for value in field]
    assert len(values) == len(set(values))
    assert all(" " not in value for value in values)
    assert all(3 <= len(field) <= 5 for field in lf.CAPTION_FIELDS.values())


@pytest.mark.parametrize("diagnosis", lf.DIAGNOSES)
def test_shares_add_up_to_one(diagnosis: str) -> None:
    assert set(lf.SHARES[diagnosis]) == set(lf.CAPTION_FIELDS)
    for name, shares in lf.SHARES[diagnosis].items():
        assert len(shares) == len(lf.CAPTION_FIELDS[name])
        assert math.isclose(sum(shares), 1.0)


def test_bayes_limit_leaves_room_and_is_high() -> None:
    assert 0.93 <= lf.bayes_top1() <= 0.97
    assert lf.bayes_top1(0.0) <= 1.0
    # Colour and border are what a small vision tower sees best: they must carry most of it
    assert lf.bayes_top1(fields=("colour", "border")) > 0.75
    assert lf.bayes_top1(fields=("position",)) == pytest.approx(1 / 6)


def test_bayes_limit_falls_with_ambiguity_and_with_fewer_fields() -> None:
    limits = [lf.bayes_top1(ambiguity) for ambiguity in (0.0, 0.05, 0.2)]
    assert limits == sorted(limits, reverse=True)
    assert lf.bayes_top1(fields=("colour",)) < lf.bayes_top1(fields=("colour", "surface")) < lf.bayes_top1()


def test_bayes_limit_is_what_the_posterior_earns() -> None:
    chance, right, count = random.Random(0), 0, 4000
    looks = lf.shares_with_ambiguity(0.05)
    for number in range(count):
        true = lf.DIAGNOSES[number % 6]
        look = chance.choices(lf.DIAGNOSES, [looks[true, d] for d in lf.DIAGNOSES])[0]
        values = {n: chance.choices(v, lf.SHARES[look][n])[0] for n, v in lf.CAPTION_FIELDS.items()}
        posterior = lf.posterior(values)
        right += max(posterior, key=posterior.__getitem__) == true
    # Four standard errors of a share of .93 among 4,000
    assert right / count == pytest.approx(lf.bayes_top1(), abs=0.016)


def test_posterior_adds_up_and_refuses_the_impossible() -> None:
    assert math.isclose(sum(lf.posterior({"colour": "blue"}).values()), 1.0)
    assert (
        max(lf.posterior({"colour": "black", "border": "irregular"}).items(), key=lambda x: x[1])[0]
        == "melanoma"
    )
    with pytest.raises(ValueError, match="no diagnosis shows"):
        lf.posterior({"colour": "blue", "surface": "scaly"})


def test_constant_caption_leaves_room_to_learn() -> None:
    assert 0.35 <= lf.constant_field_accuracy() <= 0.45
    assert set(lf.constant_caption()) == set(lf.CAPTION_FIELDS)

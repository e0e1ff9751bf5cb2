import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import load_taxonomy
from skinflow_plugins.diagnosis.confidences import write_with_confidences
from skinflow_plugins.rewards import confidence, hierarchy_credit, ranked_diagnosis, safety
from skinflow_plugins.testing import check_reward

LABELS = ["melanoma", "psoriasis", "eczema", "scabies", "vitiligo"]


def score(answer: str, truth: str = "melanoma", **options: Any) -> Any:
    return confidence(answer, **{"taxonomy": "fitzpatrick17k", "diagnosis": truth, "id": "s", **options})


@pytest.mark.parametrize("options", [{}, {"rule": "logarithmic"}, {"rule": "logarithmic", "floor": 1e-4}])
@pytest.mark.parametrize("taxonomy", ["demo", "fitzpatrick17k", "isic"])
def test_contract(taxonomy: str, options: dict[str, Any]) -> None:
    labels = [label.name for label in load_taxonomy(taxonomy).labels()][::60]
    samples = [{"id": name, "diagnosis": name} for name in labels]
    answers = ["melanoma (0.7); nevus (20%)", "melanoma (0.9); nevus (0.9)", "melanoma"]
    check_reward(confidence, samples, options={"taxonomy": taxonomy, **options}, answers=answers)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("melanoma (1.0)", 1),
        ("psoriasis (1.0)", -1),
        ("melanoma (0.7); psoriasis (20%)", 2 * 0.7 - 0.49 - 0.04),
        ("melanoma: 0.7; psoriasis: 0.2", 2 * 0.7 - 0.49 - 0.04),
        ("1. psoriasis (0.5)\n2. melanoma (0.5)", 2 * 0.5 - 0.25 - 0.25),
        ('[{"diagnosis": "melanoma", "confidence": 0.7}]', 2 * 0.7 - 0.49),
        ('{"melanoma": 0.7, "psoriasis": 0.2}', 2 * 0.7 - 0.49 - 0.04),
        ('{"diagnosis": ["melanoma", "psoriasis"], "confidence": [0.7, 0.2]}', 2 * 0.7 - 0.49 - 0.04),
        ("melanoma (0.7); psoriasis", 2 * 0.7 - 0.49),
        ("melanoma; psoriasis (0.3)", -0.09),
        ("malignant melanoma (0.3); melanoma (0.4)", 2 * 0.7 - 0.49),  # one disease
        ("zzz (0.5); melanoma (0.5)", 2 * 0.5 - 0.25 - 0.25),
        ("dermatitis (0.5)", -0.25),
        ("melanoma (0.6); psoriasis (0.6)", -1),
        ("melanoma (1.0); psoriasis (0.01)", -1),
        ("melanoma (100%); psoriasis (100%); eczema (100%)", -1),
        ("melanoma (0.34); psoriasis (0.33); eczema (0.33)", 2 * 0.34 - 0.34**2 - 2 * 0.33**2),
        ("melanoma", -1),
        ("not melanoma (0.9)", -1),
        ("melanoma (0%)", -1),
        ("melanoma (120%)", -1),
        ("", -1),
        ("a (0.1); b (0.1); c (0.1); d (0.1); e (0.1); f (0.1); melanoma (0.4)", -1),
    ],
)
def test_quadratic_by_hand(answer: str, value: float) -> None:
    assert score(answer).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("melanoma (1.0)", 1),
        ("melanoma (10%)", 0),
        ("melanoma (1%)", -1),
        ("melanoma (0.001)", -1),
        ("psoriasis (0.5)", -1),
        ("melanoma (0.5); psoriasis (0.5)", 1 - 2 * math.log(0.5) / math.log(0.01)),
        ("melanoma (0.5)", 1 - 2 * math.log(0.5) / math.log(0.01)),
        ("melanoma (0.9); psoriasis (0.2)", -1),
        ("melanoma", -1),
    ],
)
def test_logarithmic_by_hand(answer: str, value: float) -> None:
    assert score(answer, rule="logarithmic").value == pytest.approx(value)


THOUSANDTHS = st.lists(st.integers(0, 1000), min_size=5, max_size=5).filter(lambda some: sum(some) > 0)


def scaled(some: list[int], total: int) -> list[float]:
    """As probabilities in thousandths that add up to at most total / 1000."""
    return [math.floor(each * total / sum(some)) / 1000 for each in some]


def expected(stated: list[float], true: list[float], **options: Any) -> float:
    """The expected reward of stating `stated` where the truth is drawn from `true`; the rest is acne's."""
    pairs = [(name, p) for name, p in zip(LABELS, stated, strict=True) if p]
    assume(pairs)
    answer = write_with_confidences(pairs)
    chances = [*true, 1 - sum(true)]
    truths = [*LABELS, "acne"]
    return sum(q * score(answer, truth, **options).value for q, truth in zip(chances, truths, strict=True))


@given(THOUSANDTHS, THOUSANDTHS, st.integers(1, 1000), st.integers(1, 1000))
def test_quadratic_is_strictly_proper(
    true: list[int], lie: list[int], true_total: int, lie_total: int
) -> None:
    q, p = scaled(true, true_total), scaled(lie, lie_total)
    assume(any(q))
    gap = expected(q, q) - expected(p, q)
    # The loss of a lie is its squared distance from the truth.
    assert gap == pytest.approx(sum((a - b) ** 2 for a, b in zip(q, p, strict=True)), abs=1e-9)
    assert (gap > 1e-10) == (p != q)


@given(THOUSANDTHS, THOUSANDTHS, st.integers(1, 1000))
def test_logarithmic_is_strictly_proper_above_the_floor(true: list[int], lie: list[int], total: int) -> None:
    q, p = scaled(true, 1000), scaled(lie, total)
    assume(all(each == 0 or each >= 0.05 for each in q) and any(q))
    q[q.index(max(q))] += 1 - sum(q)  # nothing is left for others
    q = [round(each, 3) for each in q]
    gap = expected(q, q, rule="logarithmic") - expected(p, q, rule="logarithmic")
    assert gap > 0 or p == q


@given(st.integers(0, 5), st.sampled_from(["quadratic", "logarithmic"]))
def test_a_sharper_hit_earns_more_and_a_sharper_miss_less(place: int, rule: str) -> None:
    values = [score(f"melanoma ({p})", rule=rule).value for p in (0.1, 0.3, 0.5, 0.7, 1.0)]
    assert values == sorted(values)
    misses = [score(f"psoriasis ({p})", rule=rule).value for p in (0.1, 0.3, 0.5, 0.7, 1.0)]
    assert misses == sorted(misses)[::-1]


@pytest.mark.parametrize(
    "answer",
    [
        "melanoma (0.7); psoriasis (20%)",
        "melanoma: 0.7; psoriasis: 0.2",
        "melanoma (p=0.7); psoriasis (p=0.2)",
        "1. melanoma - 0.7\n2. psoriasis - 0.2",
        '[{"diagnosis": "melanoma", "confidence": 0.7}, {"diagnosis": "psoriasis", "confidence": "0.2"}]',
        json.dumps({"diagnosis": ["melanoma", "psoriasis"], "probability": [0.7, 0.2]}),
        "| Diagnosis | Confidence |\n|---|---|\n| melanoma | 0.7 |\n| psoriasis | 20% |",
    ],
)
def test_every_other_reward_reads_such_answers(answer: str) -> None:
    given_ = {"taxonomy": "fitzpatrick17k", "diagnosis": "psoriasis"}
    plain = "melanoma; psoriasis"
    assert score(answer).value == pytest.approx(2 * 0.7 - 0.49 - 0.04)
    for reward in (ranked_diagnosis, hierarchy_credit, safety):
        assert reward(answer, **given_) == reward(plain, **given_)
    assert ranked_diagnosis(answer, **given_).value == 0.5


def test_why_and_what_was_read() -> None:
    found = score("malignant melanoma (0.7); psoriasis (0.2)")
    assert found.why == "melanoma has 0.7 of 0.9"
    assert found.read == {"melanoma": 0.7, "psoriasis": 0.2}
    assert score("melanoma (0.7); psoriasis (0.7)").why == "the probabilities add up to 1.4, more than 1"
    assert score("melanoma").why == "no probability is stated"
    long = "; ".join(f"{letter} (0.1)" for letter in "abcdefgh")
    assert score(long).why == "8 items are listed, at most 6 are asked for"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"rule": "brier"}, "'quadratic' or 'logarithmic', found 'brier'"),
        ({"floor": 0.0}, "floor must be above 0 and below 1"),
        ({"floor": math.nan}, "floor"),
        ({"list_length": 0}, "list_length"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        score("x", **options)

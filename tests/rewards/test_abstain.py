import math
from typing import Any

import pytest

from skinflow_plugins.rewards import abstain
from skinflow_plugins.testing import check_reward


def score(answer: str, truth: str = "melanoma", **options: Any) -> Any:
    return abstain(answer, **{"taxonomy": "fitzpatrick17k", "diagnosis": truth, "id": "s", **options})


@pytest.mark.parametrize(
    "options", [{}, {"within": 3, "right": 0.5, "abstaining": 0.25, "wrong": 0}, {"subtypes": True}]
)
def test_contract(options: dict[str, Any]) -> None:
    samples = [{"id": name, "diagnosis": name} for name in ("melanoma", "psoriasis")]
    answers = ["unknown", "melanoma; unknown", "psoriasis; melanoma"]
    check_reward(abstain, samples, options={"taxonomy": "fitzpatrick17k", **options}, answers=answers)


@pytest.mark.parametrize(
    ("answer", "value", "coverage"),
    [
        ("melanoma", 1, 1),
        ("psoriasis", -1, 1),
        ("psoriasis; melanoma", -1, 1),
        ("I don't know", -0.5, 0),
        ("<think>hm</think><answer>not sure</answer>", -0.5, 0),
        ('{"diagnosis": "unknown"}', -0.5, 0),
        ("I cannot determine the diagnosis from this image.", -0.5, 0),
        # Neither both values nor a way around them.
        ("unknown; melanoma", -1, 1),
        ("melanoma; unknown", -1, 1),
        ("melanoma; psoriasis; I don't know", -1, 1),
        ("1. melanoma\n2. I abstain", -1, 1),
        ("melanoma; a; b; c; d; e; unknown", -1, 1),
        ("melanoma, not sure", -1, 1),
        ("I am not sure, but melanoma", -1, 1),
        ("", -1, 1),
        ("zzz", -1, 1),
        ("melanoma?", -1, 1),
        ("not melanoma", -1, 1),
    ],
)
def test_by_hand(answer: str, value: float, coverage: float) -> None:
    found = score(answer)
    assert (found.value, found.marks) == (value, {"coverage": coverage})
    assert found.why


def test_why_tells_the_cases_apart() -> None:
    assert score("unknown").why == "it abstains"
    assert score("melanoma; unknown").why == "it abstains and lists a diagnosis as well"
    assert score("").why == "no diagnosis could be read, and it does not abstain"
    assert score("psoriasis; melanoma").why == "melanoma stands at rank 2, below 1"
    assert score("psoriasis").why == "melanoma is not listed"


def test_within_and_forms() -> None:
    assert score("psoriasis; melanoma", within=2).value == 1
    form = "acral lentiginous melanoma"
    assert score(form).value == -1
    assert score(form, subtypes=True).value == 1
    assert score("lentigo maligna", subtypes=True).value == -1  # a label of its own


@pytest.mark.parametrize(
    ("right", "abstaining", "wrong"), [(1.0, 0.25, 0.0), (1.0, 0.0, -1.0), (1.0, -0.5, -1.0)]
)
def test_answering_pays_above_the_stated_probability(right: float, abstaining: float, wrong: float) -> None:
    values = {"right": right, "abstaining": abstaining, "wrong": wrong}
    hit, miss = score("melanoma", **values).value, score("psoriasis", **values).value
    silent = score("unknown", **values).value
    threshold = (abstaining - wrong) / (right - wrong)
    for p in (threshold - 0.01, threshold + 0.01):
        assert (p * hit + (1 - p) * miss > silent) == (p > threshold)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"abstaining": -1.0}, "right > abstaining > wrong, found 1, -1 and -1"),
        ({"right": -0.5}, "right > abstaining > wrong"),
        ({"right": 0.0, "abstaining": 0.5}, "right > abstaining > wrong"),
        ({"right": 2.0}, r"option right must lie in \[-1, 1\]"),
        ({"wrong": math.nan}, "option wrong"),
        ({"within": 7}, "within must lie between 1 and list_length"),
        ({"within": 0}, "within"),
        ({"list_length": 0}, "list_length"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        score("x", **options)

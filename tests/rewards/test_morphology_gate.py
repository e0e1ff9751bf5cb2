import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.rewards import morphology_gate, ranked_diagnosis
from skinflow_plugins.testing import check_reward

FIELDS = {
    "colour": ["red", "blue", "brown", "white"],
    "border": ["sharp", "blurred"],
    "scale": ["none", "fine"],
}
RIGHT = {"colour": ["red"], "border": ["sharp"], "scale": ["fine"]}
TOLD = "colour: red; border: sharp; scale: fine"
HALF = "colour: red; border: sharp; scale: none"
WRONG = "colour: blue; border: blurred; scale: none"


def score(answer: str, **options: Any) -> Any:
    given_ = {"taxonomy": "demo", "fields": FIELDS, "diagnosis": "psoriasis", "caption": RIGHT, "id": "s"}
    return morphology_gate(answer, **{**given_, **options})


def answer(told: str, listed: str) -> str:
    return f"<think>{told}</think><answer>{listed}</answer>"


@pytest.mark.parametrize("options", [{}, {"decay": "linear", "within": 3, "share": 0.3, "agreement": 1}])
def test_contract(options: dict[str, Any]) -> None:
    samples = [
        {"id": "a", "diagnosis": "psoriasis", "caption": RIGHT},
        {"id": "b", "diagnosis": "melanoma", "caption": {"colour": ["brown", "blue"]}},
    ]
    answers = [TOLD, "psoriasis", answer(WRONG, "psoriasis"), answer(TOLD, "melanoma; psoriasis")]
    all_options = {"taxonomy": "demo", "fields": FIELDS, **options}
    check_reward(morphology_gate, samples, options=all_options, answers=answers)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (answer(TOLD, "psoriasis"), 1),
        (answer(TOLD, "melanoma; psoriasis"), 0.5 / 2),
        (answer(HALF, "psoriasis"), 0.5 + 0.5 * 2 / 3),
        (answer(HALF, "melanoma; psoriasis"), 0.5 / 2),
        (answer(WRONG, "psoriasis"), 0),  # a right guess without looking
        (answer("colour: red", "psoriasis"), 0.5 / 3),  # too little is right for the diagnosis to count
        (answer(TOLD, "melanoma"), 0),  # a description of what every lesion has
        (answer(TOLD, "dermatitis"), 0),
        (answer(TOLD, "not psoriasis"), 0),
        (answer(TOLD, ""), 0),
        (answer("", "psoriasis"), 0),
        ("psoriasis", 0),
        (TOLD, 0),
        (f"<think>{TOLD}; psoriasis", 0),
        (f"{TOLD}\n<answer>psoriasis</answer>", 1),
        (f"<think>{TOLD}</think>\npsoriasis", 1),
        (f"<answer>melanoma</answer>{TOLD}<answer>psoriasis</answer>", 1),
        (json.dumps({**RIGHT, "diagnosis": "psoriasis"}), 1),
        (json.dumps({"description": RIGHT, "diagnoses": ["melanoma", "psoriasis"]}), 0.25),
        (json.dumps({"description": TOLD, "diagnosis": "psoriasis"}), 1),
        (json.dumps({**RIGHT, "ruled out": "psoriasis"}), 0),
    ],
)
def test_by_hand(text: str, value: float) -> None:
    found = score(text)
    assert found.value == pytest.approx(value)
    assert found.why


def test_a_description_in_sentences() -> None:
    fields = {
        "colour": ["red", "brown", "white"],
        "border": ["sharp", "blurred"],
        "surface": ["smooth", "scaly"],
    }
    options = {"fields": fields, "caption": {"colour": ["red"], "border": ["sharp"], "surface": ["scaly"]}}
    told = "An erythematous plaque with a sharp border and fine scale."
    assert score(answer(told, "psoriasis"), **options).value == pytest.approx(1)
    denied = "A plaque that is not red, with no scale and without a sharp border."
    assert score(answer(denied, "psoriasis"), **options).value == 0


def test_naming_every_value_does_not_agree() -> None:
    spam = "; ".join(f"{name}: {', '.join(values)}" for name, values in FIELDS.items())
    found = score(answer(spam, "psoriasis"))
    assert found.value == 0
    assert "agrees by 0.00, below 0.5" in found.why


@given(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FIELDS.items()}),
    st.lists(st.sampled_from(["psoriasis", "melanoma", "nevus", "zzz"]), max_size=4),
)
def test_laws(told: dict[str, str], listed: list[str]) -> None:
    text = "; ".join(f"{name}: {value}" for name, value in told.items())
    both = score(answer(text, "; ".join(listed))).value
    alone = ranked_diagnosis("; ".join(listed), taxonomy="demo", diagnosis="psoriasis", near=0).value
    # Never more than the diagnosis alone earns in one half, and the morphology in the other.
    assert both <= 0.5 * alone + 0.5
    assert alone > 0 or both == 0
    # A truer description is never worse.
    assert score(answer(TOLD, "; ".join(listed))).value >= both
    agreed = sum(RIGHT[name] == [value] for name, value in told.items()) / 3
    if agreed < 0.5 and listed[:1] != ["psoriasis"]:
        assert both == 0


def test_why_says_which_gate_is_shut() -> None:
    assert score("psoriasis").why == "psoriasis at rank 1; nothing is described, so no diagnosis counts"
    shut = score(answer(WRONG, "psoriasis"))
    assert shut.why == "psoriasis at rank 1; the morphology agrees by 0.00, below 0.5, so no diagnosis counts"
    assert shut.marks == {"agreement": 0.0, "described": 1.0}
    other = score(answer(TOLD, "melanoma")).why
    assert other == (
        "psoriasis is not listed; the morphology agrees by 1.00; "
        "it does not count without the right diagnosis within rank 1"
    )


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"agreement": 0.0}, "closes no gate"),
        ({"agreement": 1.5}, r"agreement must lie in \[0, 1\]"),
        ({"share": math.nan}, "share must lie"),
        ({"within": 7}, "within must lie between 1 and list_length"),
        ({"decay": "linear", "by_rank": [1.0]}, "contradict"),
        ({"caption": {"color": ["red"]}}, "unknown field 'color'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        score("x", **options)

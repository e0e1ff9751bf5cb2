"""The forms with confidences and with a description; the plain ones are tested in test_rewards.py."""

import re
from typing import Any

import pytest

from skinflow_plugins.rewards import answer_form, confidence, morphology_gate
from skinflow_plugins.testing import check_reward

FIELDS = {"colour": ["red", "blue"], "border": ["sharp", "blurred"]}
TOLD = "colour: red; border: sharp"


def value(answer: str, **options: Any) -> float:
    return float(answer_form(answer, **options).value)


@pytest.mark.parametrize(
    "options",
    [
        {"form": "ranked_list", "confidences": True},
        {"form": "described", "fields": FIELDS},
        {"form": "described", "fields": FIELDS, "confidences": True, "list_length": 2},
    ],
)
def test_contract(options: dict[str, Any]) -> None:
    samples = [{"id": "a", "diagnosis": "melanoma"}, {"id": "b", "diagnosis": "psoriasis"}]
    answers = ["melanoma (0.7); nevus (20%)", "melanoma; nevus", f"<think>{TOLD}</think><answer>x</answer>"]
    check_reward(answer_form, samples, options=options, answers=answers)
    assert answer_form.content is False


GOOD = [
    "melanoma (0.7)",
    "melanoma (0.7); nevus (20%)",
    "melanoma (0.70); nevus (12.5 %)",
    "melanoma: 0.7; nevus: 20%",
    "1. melanoma (0.7)\n2. nevus (0.3)",
    "squamous cell carcinoma (SCC) (0.7); eczema (0.1)",
    "1. Nevus, Halo (1.0)",
    "<think>why</think><answer>melanoma (100%)</answer>",
]
BAD = [
    ("melanoma", "item 1 has no confidence"),
    ("melanoma (0.7); nevus", "item 2 has no confidence"),
    ("melanoma (high)", "item 1 has no confidence"),
    ("melanoma (.7); nevus (0.1)", "item 1 has no confidence"),  # the reward `confidence` reads none there
    ("melanoma 0.7", "item 1 has no confidence"),
    ("melanoma (2)", "item 1 has no confidence"),
    ("melanoma (0.7); nevus (0.4)", "add up to 1.1, more than 1"),
    ("melanoma (110%)", "add up to 1.1, more than 1"),
    ("not melanoma (0.7)", "hedged"),
    ("melanoma (0.7); Melanomas (0.1)", "stands twice"),
    ("(0.7)", "item 1"),
    ("melanoma (0.1) (0.7)", "not a bare name"),
    ("a (0.1); b (0.1); c (0.1); d (0.1); e (0.1); f (0.1); g (0.1)", "7 items"),
    ("", "empty"),
]


@pytest.mark.parametrize("answer", GOOD)
def test_lists_with_confidences(answer: str) -> None:
    assert value(answer, form="ranked_list", confidences=True) == 1
    assert value(answer, form="ranked_list") == 0
    read = confidence(answer, taxonomy="fitzpatrick17k", diagnosis="melanoma")
    assert len(read.read) == len(re.split(r"[;\n]", answer))  # what the form asks for, the other reward reads


@pytest.mark.parametrize(("answer", "why"), BAD)
def test_lists_without_right_confidences(answer: str, why: str) -> None:
    found = answer_form(answer, form="ranked_list", confidences=True)
    assert found.value == 0
    assert why in found.why


@pytest.mark.parametrize(
    "answer", ["mela\x00noma", "mela\u200bnoma", "melanoma\uff1b nevus", "melanoma<|im_end|>"]
)
def test_unseen_characters_and_tokens_are_no_form(answer: str) -> None:
    found = answer_form(answer, form="ranked_list")
    assert (found.value, found.why[:28]) == (0, "it holds control characters,")


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        (f"<think>{TOLD}</think><answer>psoriasis; eczema</answer>", 1, "a description and a list of 2"),
        (f"{TOLD}\n<answer>1. psoriasis\n2. eczema</answer>", 1, "a description and a list of 2"),
        (
            "<think>colour: red</think><answer>a</answer>",
            0,
            "the description: missing or without a value: border",
        ),
        (f"<think>{TOLD}</think><answer></answer>", 0, "the answer is empty"),
        (f"<think>{TOLD}</think><answer>not a</answer>", 0, "hedged"),
        (f"<think>{TOLD}</think>a", 0, "tags are nested"),
        (f"<think>{TOLD}</think>x<answer>a</answer>", 0, "tags are nested"),
        (f"{TOLD}<answer>a</answer> bye", 0, "tags are nested"),
        (f"{TOLD}; a", 0, "no description stands before"),
        ("<answer>a</answer>", 0, "no description stands before"),
        ("<think> </think><answer>a</answer>", 0, "no description stands before"),
        ("", 0, "no description stands before"),
    ],
)
def test_described_answers(answer: str, expected: float, why: str) -> None:
    found = answer_form(answer, form="described", fields=FIELDS)
    assert found.value == expected
    assert why in found.why
    if expected:
        right = {"colour": ["red"], "border": ["sharp"]}
        sample = {"diagnosis": "psoriasis", "caption": right}
        assert morphology_gate(answer, taxonomy="demo", fields=FIELDS, **sample).value == 1


def test_both_options_together() -> None:
    text = f"<think>{TOLD}</think><answer>psoriasis (0.6); eczema (0.4)</answer>"
    assert value(text, form="described", fields=FIELDS, confidences=True) == 1
    assert value(text, form="described", fields=FIELDS) == 0


def test_options() -> None:
    with pytest.raises(ValueError, match="fields is needed for the form 'described'"):
        value("x", form="described")
    with pytest.raises(ValueError, match="list_length must be at least 1"):
        value("x", form="described", fields=FIELDS, list_length=0)

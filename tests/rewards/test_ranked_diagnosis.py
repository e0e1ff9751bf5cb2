"""What acceptance, decay and the judge add; the plain credit by rank is tested in test_rewards.py."""

import asyncio
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from skinflow_plugins import NoVerdict
from skinflow_plugins.diagnosis import load_taxonomy, write_ranked_list
from skinflow_plugins.rewards import call_reward, ranked_diagnosis
from skinflow_plugins.testing import check_reward

OPTIONS = {"taxonomy": "fitzpatrick17k"}


def score(answer: str, truth: str = "melanoma", **options: Any) -> Any:
    found = ranked_diagnosis(answer, **{**OPTIONS, "diagnosis": truth, "id": "s", **options})
    return asyncio.run(found) if inspect.iscoroutine(found) else found


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({}, 1 / 3),
        ({"decay": "linear"}, 4 / 6),
        ({"decay": "exponential"}, 1 / 4),
        ({"decay": "exponential", "rate": 0.9}, 0.81),
        ({"by_rank": [1, 0.9, 0.8]}, 0.8),
    ],
)
def test_decay(options: dict[str, Any], value: float) -> None:
    assert score("psoriasis; eczema; melanoma", **options).value == pytest.approx(value)
    samples = [{"id": "a", "diagnosis": "melanoma"}, {"id": "b", "diagnosis": "eczema"}]
    check_reward(ranked_diagnosis, samples, options={**OPTIONS, **options}, answers=["melanoma; eczema"])


def test_forms_count_only_on_request_and_never_where_they_are_labels() -> None:
    form, label = "acral lentiginous melanoma", "lentigo maligna"
    assert score(form).value < 0.1
    assert score(f"{form}; melanoma").value == 0.5
    found = score(form, subtypes=True)
    assert (found.value, found.why) == (1, f"melanoma at rank 1 as its form {form}")
    assert score(label, subtypes=True).value < 0.1
    assert score("melanoma", form, subtypes=True).value < 0.1  # the general name is no form of the form
    # Two labels, one a form of the other: what is a form of both counts for the nearer one.
    assert score("generalized pustular psoriasis", "pustular psoriasis", subtypes=True).value == 1
    assert score("generalized pustular psoriasis", "psoriasis", subtypes=True).value < 0.1


def test_no_name_is_right_for_two_labels_that_are_not_one_disease() -> None:
    """Otherwise the form would dominate the general label: right for itself, and for the other."""
    tree = load_taxonomy("fitzpatrick17k")
    labels = [label for label in tree.labels() if tree.label(label.name) == label]
    for concept in tree.concepts.values():
        if concept.kind not in ("label", "answer") or tree.resolve(concept.name) != concept:
            continue
        right = [
            truth
            for truth in labels
            if score(write_ranked_list([concept.name]), truth.name, subtypes=True, near=0).value == 1
        ]
        diseases = {tree.representative(truth).id for truth in right}
        if concept.kind == "label":
            assert diseases == {tree.representative(concept).id}
        assert len(diseases) <= 1, concept.name


def test_longer_lists() -> None:
    long = "melanoma; b; c; d; e; f; g"
    assert score(long).value == 1
    found = score(long, longer="void")
    assert (found.value, found.why) == (0, "7 items are listed, at most 6 are asked for")
    assert found.marks == {"listed": 7, "generic": 0}
    assert score("melanoma; b; c", longer="void").value == 1


def test_marks_and_why() -> None:
    found = score("dermatitis; melanoma; c; d; e; f; g; h")
    assert found.marks == {"listed": 8, "generic": 1}
    assert found.why == "melanoma at rank 2"
    assert score("").why == "no diagnosis could be read"
    assert score("zzz").why == "melanoma is not listed; the first item is not in the taxonomy"
    assert score("psoriasis").why == "melanoma is not listed; psoriasis is 0.00 similar"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"accept": "jugde"}, "did you mean 'judge'"),
        ({"accept": "judge"}, "needs a judge; write the block `judge`"),
        ({"longer": "keep"}, "'cut' or 'void', found 'keep'"),
        ({"decay": "linear", "by_rank": [1.0]}, "contradict"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        score("x", **options)


class Examiner:
    """Grades by the words in `grades`, and keeps what it was asked."""

    def __init__(self, chat_server: Callable[..., str]) -> None:
        self.grades: dict[str, str] = {}
        self.asked: list[list[str]] = []
        self.status = 200
        self.settings = {
            "endpoint": chat_server(self.say), "model": "examiner", "cache": "off",
            "retries": 0, "failure_share": 1.0,
        }  # fmt: skip

    def say(self, request: dict[str, Any]) -> tuple[int, str]:
        found = re.search(r"<data>\n(.*)\n</data>", request["messages"][1]["content"])
        assert found is not None
        listed = [entry["text"] for entry in json.loads(found[1])["listed"]]
        self.asked.append(listed)
        verdicts = [
            {"item": n, "verdict": self.grades.get(text, "wrong")} for n, text in enumerate(listed, 1)
        ]
        return self.status, json.dumps({"verdicts": verdicts})


@pytest.fixture
def examiner(chat_server: Callable[..., str]) -> Examiner:
    return Examiner(chat_server)


@pytest.fixture
def judged(examiner: Examiner) -> Callable[..., Any]:
    """The score by that judge."""

    def score_by(answer: str, truth: str = "melanoma", **options: Any) -> Any:
        given = {**OPTIONS, "accept": "judge", "judge": examiner.settings, **options}
        (found,) = call_reward(ranked_diagnosis, [answer], {"id": ["s"], "diagnosis": [truth]}, given)
        return found

    return score_by


def test_the_judge_accepts_what_the_taxonomy_does_not(judged: Callable[..., Any], examiner: Examiner) -> None:
    examiner.grades = {"black mole cancer": "correct", "naevoid growth": "subtype", "scabies": "critical"}
    found = judged("psoriasis; black mole cancer; melanoma")
    assert found.value == 0.5
    assert found.why == "melanoma at rank 2: the judge calls 'black mole cancer' the same"
    assert found.marks == {"listed": 3, "generic": 0, "judge_matcher_differ": 1}
    assert judged("naevoid growth").value == 0
    form = judged("scabies; naevoid growth", subtypes=True)
    assert (form.value, form.marks["judge_matcher_differ"]) == (0.5, 1)
    assert form.why == "melanoma at rank 2: the judge calls 'naevoid growth' a form of it"


def test_what_the_taxonomy_accepts_stands_without_the_judge(
    judged: Callable[..., Any], examiner: Examiner
) -> None:
    assert judged("melanoma; psoriasis").value == 1
    assert judged("malignant melanoma").value == 1
    assert judged("").value == judged("not melanoma; melanoma or nevus").value == 0
    assert judged("dermatitis").marks == {"listed": 1, "generic": 1, "judge_matcher_differ": 0}
    assert examiner.asked == []  # none of these cost a call
    found = judged("psoriasis; melanoma; eczema")
    assert (found.value, found.marks["judge_matcher_differ"]) == (0.5, 0)
    assert examiner.asked == [["psoriasis"]]


def test_the_judge_sees_no_general_void_or_repeated_item(
    judged: Callable[..., Any], examiner: Examiner
) -> None:
    examiner.grades = {"dermatitis": "correct", "melanoma?": "correct", "skin cancer": "correct"}
    assert judged("dermatitis; skin cancer; melanoma?; zzz; Zzz").value < 0.1
    assert judged("psoriasis; plaque psoriasis").value == 0
    assert examiner.asked == [["zzz"], ["psoriasis"]]


def test_a_label_is_no_form_of_another_whatever_the_judge_says(
    judged: Callable[..., Any], examiner: Examiner
) -> None:
    examiner.grades = {"lentigo maligna": "subtype"}
    assert judged("lentigo maligna", subtypes=True).value < 0.1


def test_a_judge_that_fails_gives_no_verdict(judged: Callable[..., Any], examiner: Examiner) -> None:
    examiner.status = 500
    assert judged("psoriasis") is None
    with pytest.raises(NoVerdict, match="the judge gave no verdict"):
        score("psoriasis", accept="judge", judge=examiner.settings)
    assert judged("melanoma").value == 1  # what needs no judge is scored


def test_contract_with_a_judge(examiner: Examiner) -> None:
    examiner.grades = {"black mole cancer": "correct"}
    samples = [{"id": "a", "diagnosis": "melanoma"}, {"id": "b", "diagnosis": "eczema"}]
    options = {**OPTIONS, "accept": "judge", "judge": examiner.settings}
    check_reward(ranked_diagnosis, samples, options=options, answers=["eczema", "black mole cancer; b"])
    assert examiner.asked

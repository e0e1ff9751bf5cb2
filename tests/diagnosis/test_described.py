import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis.answers import answer_text
from skinflow_plugins.diagnosis.described import read_described


@pytest.mark.parametrize(
    ("text", "description", "answer"),
    [
        ("<think>a: b</think><answer>c; d</answer>", "a: b", "c; d"),
        ("<THINK>a: b</THINK>\n<Answer>c</Answer> bye", "a: b", "c"),
        ("a: b\n<answer>c</answer>", "a: b", "c"),
        ("<think>a: b</think> c", "a: b", "c"),
        ("<think>a</think>b<answer>c</answer>", "a\nb", "c"),
        ("<answer>x</answer> a: b <answer>c</answer>", "x\n a: b", "c"),
        ("<think><answer>x</answer> a: b</think><answer>c</answer>", "x\n a: b", "c"),
        ("<think><answer>x</answer> a: b</think> c", "x\n a: b", "c"),
        ("a: b; c", "", "a: b; c"),
        ("<answer>c</answer>", "", "c"),
        ("<think>a: b", "", ""),
        ("<think>a</think><think>b", "", ""),
        ("", "", ""),
        ('["a", "b"]', "", '["a", "b"]'),
        ('{"diagnosis": "c"}', "", '{"diagnosis": "c"}'),
        ('{"colour": "red"}', "", '{"colour": "red"}'),
        ("{" * 50_000, "", "{" * 50_000),
        ("<answer>" * 20_000, "", ""),
    ],
)
def test_the_two_parts(text: str, description: str, answer: str) -> None:
    found = read_described(text)
    assert (found.description, found.answer) == (description, answer)


@pytest.mark.parametrize(
    ("value", "description", "answer"),
    [
        ({"colour": "red", "diagnosis": "c"}, {"colour": "red"}, {"diagnosis": "c"}),
        ({"caption": {"colour": "red"}, "diagnoses": ["c"]}, {"colour": "red"}, {"diagnoses": ["c"]}),
        (
            {"findings": {"colour": "red"}, "ddx": ["c"], "dx": "d"},
            {"colour": "red"},
            {"ddx": ["c"], "dx": "d"},
        ),
        ({"colour": {"x": "red"}, "diagnosis": "c"}, {"colour": {"x": "red"}}, {"diagnosis": "c"}),
    ],
)
def test_json_objects(value: object, description: object, answer: object) -> None:
    for text in (json.dumps(value), f"```json\n{json.dumps(value)}\n```"):
        found = read_described(text)
        assert (json.loads(found.description), json.loads(found.answer)) == (description, answer)


def test_a_description_in_words_within_json() -> None:
    found = read_described('{"description": "colour: red", "diagnosis": "c"}')
    assert found == ("colour: red", '{"diagnosis": "c"}')


TAGS = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "a: b", "; ", "c", "\n", "{", '"'])


@given(st.lists(TAGS, max_size=12).map("".join))
def test_no_tag_is_left_and_the_answer_is_the_usual_one(text: str) -> None:
    found = read_described(text)
    assert not any(tag in found.description for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    assert found.answer == answer_text(text)
    assert bool(found.answer) or not found.description

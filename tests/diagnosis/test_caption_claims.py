import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis import read_caption, write_caption
from skinflow_plugins.diagnosis.caption_claims import read_claims
from skinflow_plugins.diagnosis.caption_lexicon import lexicon

FIELDS = {
    "colour": ["red", "pink", "brown", "white"],
    "location": ["arm", "hand", "trunk"],
    "lesion_type": ["papule", "plaque", "ulcer"],
    "border": ["sharp", "blurred", "irregular"],
    "shape": ["round", "irregular"],
    "surface": ["smooth", "scaly", "ulcerated"],
    "scale": ["yes", "no"],
}
WORDS = lexicon(FIELDS)


def named(text: str) -> dict[str, list[str]]:
    return {field: values for field, values in read_claims(text, WORDS).named.items() if values}


SEEN = {"colour": ["red"], "border": ["sharp"]}


@pytest.mark.parametrize(
    "text",
    [
        "colour: red; border: sharp",
        "Colour: RED\nBorder : Sharp.",
        "color: red, border: sharp",
        "colour: red. border: sharp.",
        "- **Colour**: red\n- **Margins**: well-defined",
        "1. colour: erythematous\n2. edges: well circumscribed",
        "colour = red | border = sharp",
        "(colour: red) (border: sharp)",
        "| colour: red | border: sharp |",
        "colour\uff1ared\uff1bborder\uff1asharp",
        '{"colour": "red", "border": ["sharp"]}',
        '{"caption": {"Color": "Red", "border": "well-defined"}}',
        '[{"colour": "red"}, {"border": "sharp"}]',
        '```json\n{"colour": "red", "border": "sharp"}\n```',
        '{"colour": {"red": true, "brown": false}, "border": {"sharp": true}}',
        '{"description": "a red area, sharply demarcated"}',
        "Here it is. colour: red; border: sharp",
        "An erythematous, well-demarcated area.",
        "The colour is red and the border is sharp",
        "Findings: erythema with clear-cut margins",
        "<think>brown</think><answer>red, well-defined</answer>",
        "colour: red (not brown); border: sharp, not blurred",
    ],
)
def test_one_caption_in_many_forms(text: str) -> None:
    assert named(text) == SEEN


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "a scaly plaque on the elbow",
            {"surface": ["scaly"], "lesion_type": ["plaque"], "location": ["arm"]},
        ),
        ("on the dorsum of the hand", {"location": ["hand"]}),
        ("on the other hand", {}),
        (
            "a red plaque with white scale",
            {"colour": ["red"], "lesion_type": ["plaque"], "surface": ["scaly"]},
        ),
        ("an ulcerated papule", {"surface": ["ulcerated"], "lesion_type": ["papule"]}),
        ("irregular border", {"border": ["irregular"]}),
        ("the margin is irregular", {"border": ["irregular"]}),
        ("of irregular shape", {"shape": ["irregular"]}),
        ("irregular", {"border": ["irregular"]}),
        ("colour: reddish brown", {"colour": ["red", "brown"]}),
        ("surface: red", {}),
        ("size: red", {}),
        ("scale: yes", {"scale": ["yes"]}),
        ("yes", {}),
        ("colour: red or pink", {"colour": ["red", "pink"]}),
        ("colour: red/pink", {"colour": ["red", "pink"]}),
        ("colour red", {"colour": ["red"]}),
        ("hyperpigmented", {}),
        ("green", {}),
        ("infrared redness? incredible", {"colour": ["red"]}),
        ("", {}),
        ("Describe the lesion: colour: ...; border: ...; surface: ...", {}),
    ],
)
def test_what_counts(text: str, found: dict[str, list[str]]) -> None:
    assert named(text) == found


def test_what_is_denied_unknown_listed_again_and_beside() -> None:
    claims = read_claims("colour: not red, crimson, pink, pink; colour: pink; border: fuzzy edge", WORDS)
    assert claims.denied == {"colour": ["red"]}
    assert claims.unknown == {"colour": ["crimson"]}
    assert claims.named == {"colour": ["pink"], "border": ["blurred"]}
    assert claims.again == {"colour": 2}
    claims = read_claims("multiple symmetrical lesions", lexicon({"number": ["single"]}))
    assert ("", "number/multiple") in claims.beside
    assert claims.named == {}


def test_words_said_again_in_sentences_are_no_list() -> None:
    claims = read_claims("A red plaque. The red plaque is scaly. Colour: red.", WORDS)
    assert claims.again == {}


def test_no_caption_says_why() -> None:
    assert "null" not in read_claims("red", WORDS).why_none
    assert "control character" in read_claims("colour: red\0", WORDS).why_none


VALUES = st.fixed_dictionaries(
    {}, optional={f: st.lists(st.sampled_from(v), min_size=1, unique=True) for f, v in FIELDS.items()}
)


@given(VALUES)
def test_a_written_caption_is_read_as_strictly_before(values: dict[str, list[str]]) -> None:
    text = write_caption(values)
    assert named(text) == {field: v for field, v in read_caption(text, FIELDS).named.items() if v} == values
    assert named(text.replace("; ", "\n")) == named(json.dumps(values)) == values


@given(st.text() | st.text(alphabet=" \n:;,.|{}[]\"'colurednbsharpnot\0<>", max_size=200))
def test_any_text_is_read(text: str) -> None:
    claims = read_claims(text, WORDS)
    for field, values in (*claims.named.items(), *claims.denied.items()):
        assert set(values) <= set(FIELDS[field])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["red", "sharp"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["colour", "border", "caption", "red", "x", ""]), inner, max_size=3)
    ),
)


@given(JSON)
def test_any_json_is_read(value: Any) -> None:
    read_claims(json.dumps(value), WORDS)


@pytest.mark.parametrize(
    "part",
    [
        "colour: ",
        "red, ",
        "no ",
        "not red and ",
        ":",
        "well ",
        "{",
        '{"colour":',
        "[[",
        "non",
        ", or ",
        "red;",
        "irregular ",
        "a: b, ",
    ],
)
def test_the_longest_captions_are_read_quickly(part: str) -> None:
    text = (part * 10_000)[:10_000]
    start = time.perf_counter()
    read_claims(text, WORDS)
    assert time.perf_counter() - start < 1

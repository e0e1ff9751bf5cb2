"""The question what an image shows, in the words of a schema, and the strict reading of its reply."""

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging.describe_reply import describe_schema, read_described
from skinflow_plugins.judging.describing import describe_question, offered
from skinflow_plugins.judging.reply import Unreadable

FIELDS = {"colour": ["red", "brown"], "shape": ["round", "linear"], "number": ["one", "many"]}
GOOD = {"colour": ["red", "brown"], "shape": [], "number": ["one"]}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "skin.png"
    Image.new("RGB", (8, 8), (200, 90, 90)).save(file)
    return file


def test_the_image_and_the_schema_are_sent(image: Path) -> None:
    question = describe_question(image, FIELDS)
    system, user = question.messages
    text, picture = user["content"]
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    kind, _, data = picture["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == image.read_bytes()
    head, block, rest = re.split("</?data>", text["text"])
    assert json.loads(head.splitlines()[1]) == FIELDS
    assert json.loads(block) == {"diagnosis": None, "insufficient": []}
    assert "Describe the image" in rest
    assert "never diagnose" in " ".join(system["content"].split())
    assert question.schema == describe_schema(FIELDS)


def test_the_reply_is_read_as_values_by_field(image: Path) -> None:
    read = describe_question(image, FIELDS).read
    assert read(json.dumps(GOOD)) == {"colour": ["red", "brown"], "number": ["one"]}


def test_a_known_diagnosis_is_told_but_cannot_be_named(image: Path) -> None:
    fields = {"colour": ["red"], "type": ["plaque", "psoriasis", "plaque of Psoriasis", "psoriasiform"]}
    question = describe_question(image, fields, diagnosis="psoriasis")
    text = question.messages[1]["content"][0]["text"]
    assert json.loads(re.split("</?data>", text)[1])["diagnosis"] == "psoriasis"
    assert question.schema["properties"]["type"]["items"]["enum"] == ["plaque", "psoriasiform"]
    assert question.read('{"colour": [], "type": ["plaque"]}') == {"type": ["plaque"]}
    with pytest.raises(Unreadable, match="found 'psoriasis' under 'type'"):
        question.read('{"colour": [], "type": ["psoriasis"]}')


def test_a_schema_of_names_alone_is_refused(image: Path) -> None:
    with pytest.raises(InputError, match="no field with values that do not name the diagnosis"):
        describe_question(image, {"type": ["Keloid"]}, diagnosis="keloid")


def test_what_is_offered() -> None:
    assert offered(FIELDS, None) == FIELDS
    assert offered({"a": ["x", "x"], "b": []}, "") == {"a": ["x"]}
    assert offered({"a": ["red scars", "scarring", "oscar"]}, "scar") == {"a": ["scarring", "oscar"]}


def test_an_earlier_caption_makes_another_question(image: Path) -> None:
    first = describe_question(image, FIELDS)
    again = describe_question(image, FIELDS, insufficient=[{"colour": ["red"]}])
    assert first.messages != again.messages
    block = re.split("</?data>", again.messages[1]["content"][0]["text"])[1]
    assert json.loads(block)["insufficient"] == [{"colour": ["red"]}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": None}, "found no list under 'colour'"),
        ({"colour": "red"}, "found no list under 'colour'"),
        ({"colour": ["Red"]}, "found 'Red' under 'colour', which the schema does not have"),
        ({"colour": [1]}, "found '1' under 'colour'"),
        ({"colour": [["red"]]}, "under 'colour'"),
        ({"colour": ["red", "red"]}, "found a value twice under 'colour'"),
        ({"place": ["arm"]}, "found the field 'place', which is not of the schema"),
        ({"colour": [], "number": []}, "every field is empty"),
    ],
)
def test_a_reply_that_leaves_the_schema_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        read_described(json.dumps({**GOOD, **change}), FIELDS)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(Unreadable, match="found no field 'shape'"):
        read_described('{"colour": ["red"], "number": []}', FIELDS)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(Unreadable):
        read_described(text, FIELDS)


@given(st.text(st.characters(codec=None), max_size=80))
def test_no_diagnosis_leaves_the_block(diagnosis: str) -> None:
    from skinflow_plugins.judging.prompt import DESCRIBE, load_prompt, walled

    data = walled({"diagnosis": diagnosis, "insufficient": []})
    text = load_prompt("describe", DESCRIBE).filled({"fields": walled(FIELDS), "data": data})[1]["content"]
    lines = text.split("\n")
    assert lines[2:5:2] == ["<data>", "</data>"]
    assert json.loads(lines[3])["diagnosis"] == diagnosis
    assert text.isascii()


def test_an_image_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "none.png"
    file.write_text("no image")
    with pytest.raises(InputError, match=r"none\.png"):
        describe_question(file, FIELDS)

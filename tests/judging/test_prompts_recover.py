"""The question which diagnoses a caption describes, and the strict reading of its reply."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.errors import InputError
from skinflow_plugins.judging.prompt import RECOVER, load_prompt
from skinflow_plugins.judging.recover_reply import read_recovered, recover_schema
from skinflow_plugins.judging.recovering import LONGEST_CAPTION, recover_question
from skinflow_plugins.judging.reply import Unreadable


def test_the_caption_stands_in_the_block_of_data_alone() -> None:
    question = recover_question("colour: red; shape: round", 3)
    system, user = question.messages
    head, block, rest = re.split("</?data>", user["content"])
    assert not head
    assert json.loads(block) == {"caption": "colour: red; shape: round"}
    assert "up to 3 diagnoses" in rest
    assert "red" not in rest + system["content"]
    assert question.name == "recovered"
    assert question.schema["properties"]["diagnoses"]["maxItems"] == 3


def test_the_reply_is_read_as_names_in_order() -> None:
    read = recover_question("x", 2).read
    assert read('{"diagnoses": ["melanoma", " nevus "]}') == ["melanoma", "nevus"]
    assert read('{"diagnoses": []}') == []
    assert read('```json\n{"diagnoses": ["melanoma"]}\n```') == ["melanoma"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty reply"),
        ("melanoma", "no JSON"),
        ('The caption fits {"diagnoses": ["melanoma"]}', "no JSON"),
        ('["melanoma"]', "found a JSON list; expected an object"),
        ('{"diagnoses": "melanoma"}', "one list 'diagnoses'"),
        ('{"diagnosis": ["melanoma"]}', "one list 'diagnoses'"),
        ('{"diagnoses": ["melanoma"], "why": "black"}', "one list 'diagnoses'"),
        ('{"diagnoses": ["a"], "diagnoses": ["b"]}', "a key twice"),
        ('{"diagnoses": ["melanoma", ""]}', "expected a name"),
        ('{"diagnoses": [["melanoma"]]}', "expected a name"),
        ('{"diagnoses": [{"name": "melanoma"}]}', "expected a name"),
        ('{"diagnoses": ["a", "b", "c"]}', "found 3 diagnoses; expected up to 2"),
        ('{"diagnoses": ["melanoma", "Melanoma"]}', "found 'Melanoma' twice"),
        (json.dumps({"diagnoses": ["x" * 201]}), "a diagnosis of 201 characters"),
    ],
)
def test_anything_else_is_refused_as_a_whole(text: str, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        read_recovered(text, 2)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(Unreadable):
        read_recovered(text, 3)


def test_a_caption_without_end_is_cut() -> None:
    content = recover_question("b" * 1_000_000, 1).messages[1]["content"]
    block = json.loads(content.splitlines()[1])
    assert block == {"caption": "b" * LONGEST_CAPTION}


def test_prompts_of_ones_own_and_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("version: '2'\nplaces: [most, data]\nsystem: s\nuser: '{{most}}: {{data}}'\n")
    for prompt in (file, str(file), load_prompt(file, RECOVER)):
        messages = recover_question("red", 4, prompt).messages
        assert messages[1]["content"] == '4: {"caption": "red"}'
    with pytest.raises(InputError, match=re.escape("found a prompt with the places {{data}} and {{count}}")):
        recover_question("red", 1, "ranked")
    with pytest.raises(ValueError, match="found k = 0; expected 1 or more"):
        recover_question("red", 0)


def test_the_schema_is_one_that_strict_servers_take() -> None:
    form = recover_schema(6)
    assert form["required"] == list(form["properties"]) == ["diagnoses"]
    assert form["additionalProperties"] is False

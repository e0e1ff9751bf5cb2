import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.judging.reply import Unreadable, read_reply, schema

GOOD = '{"verdicts": [{"item": 1, "verdict": "wrong"}, {"item": 2, "verdict": "correct"}]}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n {GOOD} \n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"<think>Is it? {{}} correct</think>\n\n{GOOD}",
        '{"verdicts": [{"verdict": "correct", "item": 2}, {"item": 1, "verdict": "wrong"}]}',
    ],
)
def test_what_was_asked_for_is_read(text: str) -> None:
    assert read_reply(text, 2) == ["wrong", "correct"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty reply"),
        (GOOD[:40], "no JSON"),
        (f"Here you are: {GOOD}", "no JSON"),
        (f"{GOOD} and good luck", "no JSON"),
        (f"```json\n{GOOD}\n``` and {GOOD}", "no JSON"),
        (f"<think>never ends {GOOD}", "no JSON"),
        ("I cannot help with that.", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('["wrong", "correct"]', "found a JSON list; expected an object"),
        ('{"verdicts": []}', "verdicts on 0 of 2 items"),
        ('{"verdicts": {"1": "wrong"}}', "one list 'verdicts'"),
        (GOOD.replace('"verdicts"', '"grades"'), "one list 'verdicts'"),
        (GOOD[:-1] + ', "note": "sure"}', "one list 'verdicts'"),
        (GOOD.replace('"item": 1,', ""), "'item' and 'verdict' alone"),
        (GOOD.replace('"wrong"', '"wrong", "why": "x"'), "'item' and 'verdict' alone"),
        (GOOD.replace('"item": 2', '"item": 1'), "two verdicts on item 1"),
        (GOOD.replace('"item": 2', '"item": 3'), "found item '3'; expected 1 to 2"),
        (GOOD.replace('"item": 2', '"item": 0'), "found item '0'"),
        (GOOD.replace('"item": 1', '"item": true'), "found item 'True'"),
        (GOOD.replace('"item": 1', '"item": "1"'), "expected 1 to 2"),
        (GOOD.replace('"wrong"', '"Wrong"'), "found verdict 'Wrong'; expected one of correct, subtype"),
        (GOOD.replace('"wrong"', '["wrong"]'), "found verdict"),
        (GOOD.replace('"verdict": "wrong"', '"verdict": "wrong", "verdict": "correct"'), "a key twice"),
    ],
)
def test_anything_else_is_refused_as_a_whole(text: str, message: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_reply(text, 2)
    assert message in str(caught.value)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(Unreadable):
        read_reply(text, 1)


def test_the_schema_asks_for_what_is_read() -> None:
    form = schema(2)
    entry = form["properties"]["verdicts"]
    assert (entry["minItems"], entry["maxItems"]) == (2, 2)
    assert entry["items"]["required"] == ["item", "verdict"]
    assert entry["items"]["properties"]["verdict"]["enum"] == ["correct", "subtype", "critical", "wrong"]
    json.dumps(form)

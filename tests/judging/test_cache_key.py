from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.judging import Judge
from skinflow_plugins.judging.cache_key import answer_key

CALL: dict[str, Any] = {
    "messages": [{"role": "user", "content": "a"}],
    "schema": {"type": "object", "required": ["a"]},
    "name": "verdicts",
    "seed": 0,
    "max_tokens": 100,
    "left_out": (),
}


def key(judge: Judge | None = None, **changes: Any) -> bytes:
    call = {**CALL, **changes}
    return answer_key(judge or Judge("http://127.0.0.1/v1", "m", runs=1), call.pop("messages"), **call)


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "system", "content": "a"}]},
        {"messages": [{"role": "user", "content": "b"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        {"schema": {"type": "object", "required": ["b"]}},
        {"name": "other"},
        {"seed": 1},
        {"max_tokens": 99},
        {"left_out": ("seed",)},
    ],
)
def test_everything_that_can_change_an_answer_changes_the_key(change: dict[str, Any]) -> None:
    assert key(**change) != key()


@pytest.mark.parametrize(
    "judge",
    [
        Judge("http://127.0.0.1/v2", "m", runs=1),
        Judge("http://127.0.0.1/v1", "n", runs=1),
        Judge("http://127.0.0.1/v1", "m", runs=1, temperature=0.5),
        Judge("http://127.0.0.1/v1", "m", runs=3),  # which samples
    ],
)
def test_so_does_the_judge(judge: Judge) -> None:
    assert key(judge) != key()


def test_how_it_is_asked_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    same = Judge(
        "http://127.0.0.1/v1/", "m", runs=1, timeout=1, deadline=2, retries=0, concurrency=3, temperature=0,
        cache="elsewhere.db", requests_per_minute=3, prompt_price=1.0, key_variable="MY_KEY",
    )  # fmt: skip
    assert key(same) == key()
    assert key(schema={"required": ["a"], "type": "object"}, left_out=[]) == key()
    assert key(left_out=("seed", "temperature")) == key(left_out=("temperature", "seed"))


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_texts_of_any_alphabet_have_keys_of_their_own(one: str, two: str) -> None:
    def of(text: str) -> bytes:
        return key(messages=[{"role": "user", "content": text}])

    assert (of(one) == of(two)) == (one == two)
    assert len(of(one)) == 32

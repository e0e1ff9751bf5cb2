from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.rewards import length
from skinflow_plugins.testing import check_reward


def value(answer: str, **options: Any) -> float:
    return float(length(answer, **options).value)


@pytest.mark.parametrize("options", [{}, {"at_least": 5, "at_most": 5, "flank": 0}, {"at_least": 40}])
def test_contract(options: dict[str, Any]) -> None:
    check_reward(length, [{"id": "a"}], options=options, answers=["one two three"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [(0, 0), (2, 0), (3, 0.25), (5, 0.75), (6, 1), (10, 1), (11, 0.75), (13, 0.25), (14, 0), (900, 0)],
)
def test_a_window_with_flanks(words: int, expected: float) -> None:
    assert value("word " * words, at_least=6, at_most=10, flank=4) == expected


def test_what_is_a_word() -> None:
    assert (
        length("<think>One-two; three.</think><answer>4</answer><|im_end|> \u200b ?!", at_least=1).read == 4
    )
    assert length("x" * 100_000, at_least=1).read == 4167  # one word could else hold any text
    assert value("x" * 100_000) == value("word " * 20_000) == value("\x00" * 500) == value("?!;,." * 99) == 0


def test_an_answer_without_words_earns_nothing() -> None:
    assert value("", at_least=1, flank=100) == 0
    assert value("one", at_least=2, flank=100) == 0.5


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 120))
def test_it_rises_to_the_window_and_falls_behind_it(low: int, more: int, flank: int, words: int) -> None:
    options = {"at_least": low, "at_most": low + more, "flank": flank}
    here, next_ = value("w " * words, **options), value("w " * (words + 1), **options)
    assert 0 <= here <= 1
    assert (here == 1) == (low <= words <= low + more)
    if words < low:
        assert next_ >= here
    elif words >= low + more:
        assert next_ <= here


def test_why_and_options() -> None:
    assert length("one two", at_least=3, at_most=9).why == "2 words, 1 below the window of 3 to 9"
    assert length("one two three").why == "3 words, within 1 to 64"
    with pytest.raises(ValueError, match="1 <= at_least <= at_most, found 5 and 4"):
        value("x", at_least=5, at_most=4)
    with pytest.raises(ValueError, match="1 <= at_least"):
        value("x", at_least=0)
    with pytest.raises(ValueError, match="flank must not be negative"):
        value("x", flank=-1)


def test_it_is_of_form_alone() -> None:
    assert length.content is False

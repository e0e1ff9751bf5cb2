import math
import random
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.rewards import repetition
from skinflow_plugins.rewards.words import sentences_of
from skinflow_plugins.testing import check_reward


def value(answer: str, **options: Any) -> float:
    return float(repetition(answer, **options).value)


@pytest.mark.parametrize("options", [{}, {"n": 1}, {"n": 4, "allowed": 0.2}])
def test_contract(options: dict[str, Any]) -> None:
    check_reward(repetition, [{"id": "a"}], options=options, answers=["a b c a b c", "word. word. word."])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("melanoma", 1),
        ("melanoma; nevus; halo nevus", 1),
        ("colour: red; border: red; scale: fine", 1),
        ("The border is sharp. The surface is rough.", 1),
        ("nevus nevus", 0.5),
        ("nevus; nevus; nevus; nevus", 0.25),
        ("nevus. Nevus. nevus!", 1 / 3),
        ("a b c a b c", 3 / 4),  # four runs of three words, one of them again
        ("It is red. It is round. It is red.", 2 / 3),  # a third of the sentences, a seventh of the runs
        ("", 0),
        ("?!;,.:;--**", 0),
        ("\x00" * 100, 0),
    ],
)
def test_by_hand(answer: str, expected: float) -> None:
    found = repetition(answer)
    assert found.value == pytest.approx(expected)
    assert found.why


@pytest.mark.parametrize(
    "answer", ["word " * 20_000, "x" * 100_000, "a b c d e f. " * 9_000, "nevus; " * 50_000]
)
def test_nothing_but_repetition_earns_almost_nothing(answer: str) -> None:
    assert value(answer) < 0.01


@given(st.lists(st.sampled_from(["red", "plaque", "on", "the", "arm", "scaly."]), min_size=1, max_size=30))
def test_saying_it_all_again_is_worse(words: list[str]) -> None:
    text = " ".join(words)
    assert 0 <= value(text) <= 1
    assert value(f"{text}. {text}. {text}.") <= max(0.67, value(text))


def test_a_share_is_allowed() -> None:
    text = "nevus nevus"
    assert value(text, allowed=0.5) == 1
    assert value(text, allowed=0.25) == pytest.approx(2 / 3)
    assert "50% of the runs of 1 words" in repetition(text).why


@pytest.mark.parametrize("sign", [".", "!", "?", "\u3002", ".!", ". ", ";.", ".\n"])
def test_long_runs_of_full_stops_take_no_time(sign: str) -> None:
    start = time.perf_counter()
    assert 0 <= value(sign * 100_000 + "x") <= 1  # took minutes
    assert time.perf_counter() - start < 2


def test_where_sentences_end() -> None:
    """A run of signs ends a sentence where white space follows; semicolons and line ends always do."""
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(rng.choice("ab.!?;\n ") for _ in range(rng.randint(0, 12)))
        parts = re.split(r"[.!?;\n]+(?=\s|$)|[;\n]+", text)
        found = [" ".join(re.findall("[ab]+", part)) for part in parts]
        assert sentences_of(text) == [part for part in found if part], text


def test_options_and_form() -> None:
    assert repetition.content is False
    with pytest.raises(ValueError, match="n must be at least 1"):
        value("x", n=0)
    for wrong in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="allowed must be at least 0 and below 1"):
            value("x", allowed=wrong)

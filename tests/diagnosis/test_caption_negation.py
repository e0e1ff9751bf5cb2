import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis.caption_negation import negated
from skinflow_plugins.diagnosis.vocabulary_words import KEYS, tokens

WORDS = frozenset(
    KEYS[word] for word in ("red", "scale", "crust", "ulcer", "arm", "plaque", "brown", "sharp", "blurred")
)


def taken_back(text: str) -> list[str]:
    keys = [KEYS[token] for token in tokens(text)]
    places = [(i, i + 1) for i, key in enumerate(keys) if key in WORDS]
    return [keys[start] for (start, _), no in zip(places, negated(keys, places), strict=True) if no]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a red plaque", []),
        ("no scale", ["scale"]),
        ("There is no visible scale.", ["scale"]),
        ("without crust", ["crust"]),
        ("non-red plaque", ["red"]),
        ("not red", ["red"]),
        ("not red, brown", ["red"]),
        ("no scale, crust or ulcer", ["scale", "crust", "ulcer"]),
        ("no scale, red plaque", ["scale"]),
        ("no scale or crust", ["scale", "crust"]),
        ("no scale and crust", ["scale", "crust"]),
        ("no scale and a red plaque", ["scale"]),
        ("neither red nor brown", ["red", "brown"]),
        ("scale is absent", ["scale"]),
        ("a red plaque, scale is absent", ["scale"]),
        ("a red plaque with scale absent", ["scale"]),
        ("scale is not seen", ["scale"]),
        ("scale cannot be seen", ["scale"]),
        ("scale is not clearly visible, red", ["scale"]),
        ("crust could not be identified", ["crust"]),
        ("no longer red", ["red"]),
        ("red plaque sparing the arm", ["arm"]),
        ("a red plaque, the arm is spared", ["arm"]),
        ("the arm is unaffected. Red plaque", ["arm"]),
        ("crust not present, red", ["crust"]),
        ("scale: none", ["scale"]),
        ("scale: no", ["scale"]),
        ("absence of scale", ["scale"]),
        ("absent scale on the arm", ["scale"]),
        ("free of crust", ["crust"]),
        ("scale-free plaque", ["scale"]),
        ("negative for scale", ["scale"]),
        ("lacks scale", ["scale"]),
        ("sharp rather than blurred", ["blurred"]),
        ("red instead of brown", ["brown"]),
        ("isn't red", ["red"]),
        ("anything but red", ["red"]),
        ("no scale on the arm", ["scale"]),
        ("not on the arm", ["arm"]),
        ("no scale but red", ["scale"]),
        ("without scale, with crust", ["scale"]),
        ("not only red but brown", []),
        ("no doubt red", []),
        ("not without scale", []),
        ("No. A red plaque", []),
        ("no scale. Red plaque", ["scale"]),
        ("(no scale) red", ["scale"]),
        ("not a a a a a a a a a a red plaque", []),  # too far away
    ],
)
def test_reach_of_a_negation(text: str, words: list[str]) -> None:
    assert taken_back(text) == words


@pytest.mark.parametrize("words", ["no,or ", "not seen ", "and a no ", "no a, a, or ", "i or not, "])
def test_negations_without_end_take_no_time(words: str) -> None:
    keys = [KEYS[token] for token in tokens(words * (10_000 // len(words)))]
    start = time.perf_counter()
    assert len(negated(keys, [(i, i + 1) for i in range(len(keys))])) == len(keys)
    assert time.perf_counter() - start < 0.5  # took seconds


def test_a_negation_within_a_phrase_is_of_that_phrase_alone() -> None:
    keys = [KEYS[token] for token in tokens("a not well defined red plaque")]
    assert negated(keys, [(1, 4), (4, 5)]) == [False, False]
    assert negated(keys, [(2, 4), (4, 5)]) == [True, True]


@given(
    st.lists(
        st.sampled_from(["no", "not", "red", "scale", ",", ".", "and", "or", "absent", "the", "non"]),
        max_size=20,
    )
)
def test_any_order_of_words_is_read(words: list[str]) -> None:
    places = [(i, i + 1) for i, word in enumerate(words) if word in ("red", "scale")]
    found = negated(words, places)
    assert len(found) == len(places)
    if not {"no", "not", "absent", "non"} & set(words):
        assert not any(found)
    # A full stop ends what a negation reaches.
    again = negated([*words, ".", "red"], [*places, (len(words) + 1, len(words) + 2)])
    assert again == [*found, False]

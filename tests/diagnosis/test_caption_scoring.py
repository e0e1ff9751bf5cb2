import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis.caption_claims import read_claims
from skinflow_plugins.diagnosis.caption_lexicon import lexicon
from skinflow_plugins.diagnosis.caption_scoring import FieldScore, compare

FIELDS = {
    "colour": ["red", "pink", "brown", "white"],
    "border": ["sharp", "blurred", "irregular"],
    "number": ["single", "few", "multiple"],
    "surface": ["smooth", "scaly"],
}
WORDS = lexicon(FIELDS)


def scored(text: str, **right: set[str]) -> dict[str, FieldScore]:
    return compare(read_claims(text, WORDS), right, WORDS)


@pytest.mark.parametrize(
    ("text", "right", "value", "words"),
    [
        ("red", {"red"}, 1, "red is right"),
        ("", {"red"}, 0, "red is missed"),
        ("red, pink", {"red"}, 2 / 3, "red is right, pink is wrong"),
        ("red", {"red", "pink"}, 2 / 3, "red is right, pink is missed"),
        ("pink", {"red"}, 0, "pink is wrong, red is missed"),
        ("not red", {"red"}, 0, "red is wrongly denied"),
        ("not pink, red", {"red"}, 1, "red is right"),
        ("red and not red", {"red"}, 0, "red is contradicted"),
        ("red; pink, not pink", {"red"}, 2 / 3, "red is right, pink is contradicted"),
        ("brown, not red", {"red", "brown"}, 2 / 4, "brown is right, red is wrongly denied"),
        ("colour: red, crimson", {"red"}, 2 / 3, "red is right, crimson is wrong"),
        ("colour: red; colour: red", {"red"}, 2 / 3, "red is right, 1 listed again"),
        ("red, pink, brown and white", {"red"}, 0, "all its values are named, which says nothing"),
        (
            "red, pink, brown and white",
            {"red", "pink", "brown", "white"},
            1,
            "red, pink, brown and white are right",
        ),
    ],
)
def test_one_field(text: str, right: set[str], value: float, words: str) -> None:
    score = scored(text, colour=right)["colour"]
    assert score.value == pytest.approx(value)
    assert score.words() == words


@pytest.mark.parametrize(
    ("text", "field", "right"),
    [
        ("border: sharp, blurred", "border", {"sharp"}),
        ("a well-defined, ill-defined plaque", "border", {"sharp"}),
        ("single and multiple", "number", {"single"}),
        ("solitary; several lesions", "number", {"single"}),
        ("smooth and verrucous", "surface", {"smooth"}),  # a word outside of the schema
        ("rough", "surface", {"smooth"}),
    ],
)
def test_what_excludes_another_earns_nothing(text: str, field: str, right: set[str]) -> None:
    assert scored(text, **{field: right})[field].value == 0


def test_two_opposites_that_are_both_right_are_no_contradiction() -> None:
    assert scored("sharp, blurred", border={"sharp", "blurred"})["border"].value == 1


def test_a_word_outside_of_the_schema_counts_only_where_it_excludes() -> None:
    assert scored("green, red", colour={"red"})["colour"].value == 1
    assert scored("verrucous, scaly", surface={"scaly"})["surface"].value == 1
    both = scored("scaly, smooth-surfaced", surface={"scaly"})["surface"]
    assert (both.value, both.everything) == (0, True)


def test_words_of_a_reason_are_few() -> None:
    text = "colour: " + ", ".join(f"{'x' * 50}{i}" for i in range(20))
    words = scored(text, colour={"red"})["colour"].words()
    assert "and 16 more are wrong" in words
    assert len(words) < 250


TEXTS = st.lists(
    st.sampled_from(
        [*("red", "pink", "brown", "sharp", "blurred", "not red", "no scale", "colour: red", "border: x"),
         *("ill-defined", "single", "multiple", "smooth", "colour: pink, red")]
    ),
    max_size=8,
)  # fmt: skip
RIGHT = st.fixed_dictionaries(
    {}, optional={f: st.sets(st.sampled_from(v), min_size=1) for f, v in FIELDS.items()}
).filter(bool)


@given(
    TEXTS, RIGHT, st.sampled_from(["pink", "blurred", "not red", "white", "no scale", "multiple", "rough"])
)
def test_laws(parts: list[str], right: dict[str, set[str]], more: str) -> None:
    text = "; ".join(parts)
    before = scored(text, **right)
    assert set(before) == set(right)
    assert all(0 <= score.value <= 1 for score in before.values())
    assert {n: s.value for n, s in scored("; ".join(reversed(parts)), **right).items()} == pytest.approx(
        {n: s.value for n, s in before.items()}
    )
    # What is not right never helps.
    wrong = {"pink": "colour", "white": "colour", "blurred": "border", "multiple": "number"}
    after = scored(f"{text}; {more}", **right)
    for name, score in after.items():
        if wrong.get(more) != name or more not in right[name]:
            assert score.value <= before[name].value + 1e-12, name


@given(RIGHT)
def test_the_right_caption_scores_best(right: dict[str, set[str]]) -> None:
    text = "; ".join(f"{name}: {', '.join(sorted(values))}" for name, values in right.items())
    assert all(score.value == 1 for score in scored(text, **right).values())

from pathlib import Path

import pytest
import yaml

from skinflow_plugins.diagnosis.vocabulary import Value, Vocabulary, VocabularyField
from skinflow_plugins.diagnosis.vocabulary_load import load_vocabulary
from skinflow_plugins.diagnosis.vocabulary_words import phrase

RECIPES = Path(__file__).parents[2] / "recipes"
DERMATOLOGY = load_vocabulary("dermatology")


def made(*values: Value) -> Vocabulary:
    return Vocabulary("v", "1", {"f": VocabularyField("f", ("g",), {value.name: value for value in values})})


def test_opposites_hold_both_ways_and_for_what_is_narrower() -> None:
    words = made(
        Value("f", "rough", opposites=("smooth",)),
        Value("f", "smooth"),
        Value("f", "scaly", broader=("rough",)),
        Value("f", "white"),
    )
    rough, smooth, scaly, white = (("f", name) for name in ("rough", "smooth", "scaly", "white"))
    assert words.opposed(rough, smooth)
    assert words.opposed(smooth, rough)
    assert words.opposed(scaly, smooth)
    assert words.opposed(smooth, scaly)
    assert not words.opposed(scaly, rough)
    assert not words.opposed(white, smooth)
    assert words.line(scaly) == {scaly, rough}


def test_values_and_fields_are_found_by_any_of_their_words() -> None:
    words = made(Value("f", "skin-coloured", ("flesh-toned",)))
    assert [value.name for value in words.named("Skin colored")] == ["skin-coloured"]
    assert [value.name for value in words.named("FLESH TONED")] == ["skin-coloured"]
    assert words.named("skin") == []
    found = words.field_named("G")
    assert found is not None
    assert found.name == "f"
    assert words.field_named("h") is None


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("colour", "color"),
        ("greyish", "grayish"),
        ("generalised", "generalized"),
        ("haemorrhagic", "hemorrhagic"),
        ("well-defined", "Well defined"),
        ("papules", "papule"),
        ("bullae", "bulla"),
        ("skin_coloured", "skin-colored"),
        ("tumours", "tumor"),
        ("\uff52\uff45\uff44", "red"),
    ],
)
def test_spellings_that_are_one(a: str, b: str) -> None:
    assert phrase(a) == phrase(b)


@pytest.mark.parametrize(
    ("a", "b"), [("scaly", "scale"), ("arise", "arize"), ("round", "ground"), ("four", "for")]
)
def test_spellings_that_are_not_one(a: str, b: str) -> None:
    assert phrase(a) != phrase(b)


def test_the_vocabulary_has_the_fields_of_the_paper() -> None:
    assert set(DERMATOLOGY.fields) == {
        *("colour", "location", "shape", "lesion_type", "number", "size", "border", "surface", "distribution")
    }


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("erythematous", "colour", "red"),
        ("violaceous", "colour", "purple"),
        ("flesh-colored", "colour", "skin-coloured"),
        ("nummular", "shape", "round"),
        ("well-circumscribed", "border", "sharp"),
        ("poorly demarcated", "border", "blurred"),
        ("solitary", "number", "single"),
        ("silvery scale", "surface", "scaly"),
        ("widespread", "distribution", "generalised"),
        ("plantar", "location", "sole"),
        ("bullous", "lesion_type", "bulla"),
    ],
)
def test_words_mean_what_a_dermatologist_means(word: str, field: str, value: str) -> None:
    assert (field, value) in [found.id for found in DERMATOLOGY.named(word)]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("border", "sharp"), ("border", "blurred")),
        (("number", "single"), ("number", "multiple")),
        (("surface", "smooth"), ("surface", "verrucous")),
        (("size", "small"), ("size", "large")),
        (("distribution", "symmetric"), ("distribution", "asymmetric")),
    ],
)
def test_one_lesion_cannot_be_both(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert DERMATOLOGY.opposed(a, b)


def test_a_lesion_may_have_any_two_colours() -> None:
    ids = [value.id for value in DERMATOLOGY.fields["colour"].values.values()]
    assert not [(a, b) for a in ids for b in ids if DERMATOLOGY.opposed(a, b)]


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("antecubital fossa", "elbow"),  # eczema in the bend, psoriasis on the point
        ("popliteal", "knee"),
        ("labial", "genital"),  # of the lips as well
        ("anogenital", "perianal"),
        ("blaschkoid", "segmental"),
        ("geographic", "polycyclic"),
    ],
)
def test_words_that_a_dermatologist_keeps_apart(word: str, other: str) -> None:
    assert other not in [value.name for value in DERMATOLOGY.named(word)]


@pytest.mark.parametrize("word", ["blister", "hyperpigmented", "disseminated", "limb", "pigmented"])
def test_words_that_are_wider_than_any_value_of_a_schema_stay_so(word: str) -> None:
    (value,) = DERMATOLOGY.named(word)
    assert value.broader == ()
    assert value.name in (word, "hyperpigmented")


@pytest.mark.parametrize("recipe", ["skinflow_qwen2_5_vl_7b", "quickstart"])
def test_most_values_of_the_recipes_are_in_the_vocabulary(recipe: str) -> None:
    captions = yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8"))["captions"]
    unknown = [value for values in captions.values() for value in values if not DERMATOLOGY.named(value)]
    assert unknown == []

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.diagnosis.caption_marking import (
    marked,
    reference_of_fields,
    reference_of_text,
    without_names,
)

TEXT = reference_of_text("A red plaque with fine scale, without crust.")
FORM = reference_of_text("colour: red, pink; lesion type: plaque")
FIELDS = reference_of_fields({"colour": ["red", "pink"], "lesion_type": ["plaque"]})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A red plaque", "A red plaque"),
        ("Not red", "Not notred"),
        ("no scale", "no notscale"),
        ("no crust", "no crust"),  # as the reference says
        ("a crust", "a notcrust"),
        ("no ulcer, and a red plaque", "no ulcer, and a red plaque"),
        ("red, not red", "notred, not notred"),
        ("neither a red nor a plaque", "neither a notred nor a notplaque"),
        ("", ""),
    ],
)
def test_words_that_are_taken_back(text: str, found: str) -> None:
    assert marked(text, TEXT) == found


@pytest.mark.parametrize("reference", [FORM, FIELDS])
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("colour: red; lesion type: plaque", "colour: red; lesion type: plaque"),
        ("Lesion-Type: red\nCOLOUR: plaque", "Lesion-Type: notred\nCOLOUR: notplaque"),
        ("a red plaque", "a red plaque"),
        ("colour: red; a plaque", "colour: red; a plaque"),
        ("colour: brown", "colour: brown"),
        ("colour: not red", "colour: not notred"),
    ],
)
def test_words_in_the_wrong_field(reference, text: str, found: str) -> None:  # type: ignore[no-untyped-def]
    assert marked(text, reference) == found


def test_a_text_of_fields_is_compared_as_its_values_are() -> None:
    assert FORM.text == FIELDS.text == "red pink plaque"
    assert without_names("Colour: red; **lesion type**: plaque", FORM.names) == "red ** plaque"
    assert reference_of_text("Note: a red plaque").text == "Note: a red plaque"  # one name is no form


@given(st.text(alphabet="abe .,;:\n'\u00e9\u0130", max_size=40))
def test_what_nothing_negates_stays_to_the_letter(text: str) -> None:
    assert marked(text, reference_of_text(text)) == text
    assert marked(text, TEXT) == text


@given(st.text(max_size=60), st.text(max_size=60))
def test_only_marks_are_written(text: str, reference: str) -> None:
    assert marked(text, reference_of_text(reference)).replace("not", "") == text.replace("not", "")

from pathlib import Path

import pytest

from skinflow_plugins.diagnosis.caption_lexicon import OUTSIDE, lexicon, spans
from skinflow_plugins.diagnosis.vocabulary_words import phrase
from skinflow_plugins.errors import InputError

VOCABULARY = """\
version: "1"
ignored: [red flag]
fields:
  colour:
    names: [color]
    values:
      red: {synonyms: [ruddy, dark red]}
      scarlet: {synonyms: [bright scarlet], broader: [red]}
      warm:
      orange: {broader: [warm]}
      yellow: {broader: [warm]}
  border:
    names: [edge]
    values:
      sharp: {synonyms: [crisp], opposites: [blurred]}
      blurred: [fuzzy]
      irregular:
  shape:
    values:
      irregular:
  number:
    values:
      single: {synonyms: [solitary], opposites: [multiple]}
      multiple:
"""


@pytest.fixture
def vocabulary(tmp_path: Path) -> str:
    path = tmp_path / "v.yaml"
    path.write_text(VOCABULARY, encoding="utf-8")
    return str(path)


def meaning(text: str, fields: dict[str, list[str]], vocabulary: str) -> list[list[tuple[str, str]]]:
    found = spans(phrase(text), lexicon(fields, vocabulary).phrases)
    return [[sense.id for sense in senses] for _, _, senses in found]


def test_synonyms_and_narrower_words_mean_the_value(vocabulary: str) -> None:
    fields = {"colour": ["red", "orange"]}
    assert meaning("ruddy", fields, vocabulary) == [[("colour", "red")]]
    assert meaning("Bright Scarlet", fields, vocabulary) == [[("colour", "red")]]
    assert meaning("dark red", fields, vocabulary) == [[("colour", "red")]]
    with_scarlet = {"colour": ["red", "scarlet"]}
    assert meaning("bright scarlet", with_scarlet, vocabulary) == [[("colour", "scarlet")]]


def test_a_wider_word_means_none_of_the_values(vocabulary: str) -> None:
    assert meaning("warm", {"colour": ["orange", "yellow"]}, vocabulary) == [[(OUTSIDE, "colour/warm")]]


def test_a_value_may_be_written_as_a_synonym_and_in_another_field(vocabulary: str) -> None:
    fields = {"color": ["ruddy"], "arrangement": ["solitary"]}
    assert meaning("red", fields, vocabulary) == [[("color", "ruddy")]]
    assert meaning("single", fields, vocabulary) == [[("arrangement", "solitary")]]


def test_of_two_values_that_are_one_each_keeps_its_own_word(vocabulary: str) -> None:
    fields = {"border": ["crisp", "sharp"]}
    assert meaning("crisp", fields, vocabulary) == [[("border", "crisp")]]
    assert meaning("sharp", fields, vocabulary) == [[("border", "sharp")]]


def test_a_word_of_two_fields_has_both_senses(vocabulary: str) -> None:
    fields = {"shape": ["irregular"], "border": ["irregular"]}
    assert meaning("irregular", fields, vocabulary) == [[("shape", "irregular"), ("border", "irregular")]]


def test_phrases_that_say_nothing_hide_their_words(vocabulary: str) -> None:
    assert meaning("red flag, red", {"colour": ["red"]}, vocabulary) == [[("colour", "red")]]


def test_bare_values_count_only_behind_their_field(vocabulary: str) -> None:
    words = lexicon({"scale": ["yes", "dotted"]}, vocabulary)
    assert spans(phrase("yes"), words.phrases) == []
    assert len(spans(phrase("dotted"), words.phrases)) == 1
    assert len(spans(phrase("yes"), words.of_field["scale"])) == 1


def test_opposites_within_and_outside_of_the_schema(vocabulary: str) -> None:
    words = lexicon({"border": ["sharp", "blurred"], "spread": ["single"]}, vocabulary)
    assert words.opposed["border", "sharp"] == {("border", "blurred")}
    assert words.opposed["spread", "single"] == {(OUTSIDE, "number/multiple")}
    alone = lexicon({"border": ["sharp"]}, vocabulary)
    assert alone.opposed["border", "sharp"] == {(OUTSIDE, "border/blurred")}


def test_names_before_a_colon(vocabulary: str) -> None:
    words = lexicon({"color": ["red"], "Surface_scale": ["yes"]}, vocabulary)
    assert words.heads["color",] == "color"
    assert words.heads["surface", "scale"] == "Surface_scale"
    assert words.heads["edge",] == OUTSIDE


def test_the_longest_phrase_from_the_left() -> None:
    words = lexicon({"colour": ["white"], "surface": ["scaly"]})
    found = spans(phrase("silvery white scale and white"), words.phrases)
    assert [(start, end) for start, end, _ in found] == [(0, 3), (4, 5)]


def test_an_unknown_vocabulary_is_said() -> None:
    with pytest.raises(InputError, match="did you mean 'dermatology'"):
        lexicon({"colour": ["red"]}, "dermatologi")


def test_a_lexicon_is_kept() -> None:
    assert lexicon({"colour": ["red"]}) is lexicon({"colour": ("red",)})

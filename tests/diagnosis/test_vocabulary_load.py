import os
from pathlib import Path

import pytest

from skinflow_plugins.diagnosis.vocabulary_load import builtin_vocabularies, load_vocabulary
from skinflow_plugins.errors import InputError

GOOD = """\
version: "3"
ignored: [on the other hand]
fields:
  border:
    names: [edge]
    values:
      sharp: {synonyms: [crisp, [clear-cut]], opposites: [blurred]}
      blurred: [fuzzy]
      raised:
  place:
    values: {arm: [], elbow: {broader: [arm]}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_a_file_is_read(file: Path) -> None:
    words = load_vocabulary(file)
    assert (words.name, words.version, words.ignored) == ("mine", "3", ("on the other hand",))
    border = words.fields["border"]
    assert border.names == ("edge",)
    assert border.values["sharp"].spellings == ("sharp", "crisp", "clear-cut")
    assert border.values["blurred"].synonyms == ("fuzzy",)
    assert border.values["raised"].synonyms == ()
    assert words.fields["place"].values["elbow"].broader == ("arm",)
    assert load_vocabulary(str(file)) is words


def test_a_changed_file_is_read_again(file: Path) -> None:
    before = load_vocabulary(file)
    file.write_text(GOOD.replace('"3"', '"4"'), encoding="utf-8")
    os.utime(file, ns=(1, 1))
    assert load_vocabulary(file).version == "4"
    assert before.version == "3"


def test_builtin_names() -> None:
    assert "dermatology" in builtin_vocabularies()
    with pytest.raises(InputError, match="unknown vocabulary 'dermatologie'; did you mean 'dermatology'"):
        load_vocabulary("dermatologie")
    with pytest.raises(InputError, match=r"none\.yaml: cannot read this vocabulary: No such file"):
        load_vocabulary("none.yaml")


@pytest.mark.parametrize(
    ("old", "new", "line", "part"),
    [
        ("fields:", "field:", 3, "unknown key 'field'; did you mean 'fields'"),
        ('version: "3"\n', "", 1, "no `version`"),
        ("names: [edge]", "names: edge", 5, "`names` must be a list"),
        ("values:\n      sharp", "value:\n      sharp", 6, "unknown key 'value'; did you mean 'values'"),
        ("blurred: [fuzzy]", "blurred: [crisp]", 8, "'crisp' is a word of both 'sharp' and 'blurred'"),
        ("blurred: [fuzzy]", "blurred: [Clear  cut]", 8, "'Clear  cut' is a word of both"),
        ("opposites: [blurred]", "opposites: [blured]", 7, "'blured' among `opposites`; did you mean"),
        ("opposites: [blurred]", "opposites: [sharp]", 7, "among its own `opposites`"),
        ("opposites: [blurred]", "opposed: [blurred]", 7, "unknown key 'opposed'; did you mean 'opposites'"),
        ("opposites: [blurred]", "opposites: [blurred], broader: [blurred]", 7, "that is broader than it"),
        ("arm: []", "arm: {broader: [elbow]}", 11, "'arm' is broader than itself"),
        ("broader: [arm]", "broader: [leg]", 11, "'leg' among `broader`"),
        ("blurred: [fuzzy]", "blurred: ['--']", 8, "must have 1 to 8 words"),
        ("blurred: [fuzzy]", "blurred: [a b c d e f g h i]", 8, "must have 1 to 8 words"),
        ("blurred: [fuzzy]", "blurred: [{a: b}]", 8, "must be a text"),
        ("blurred: [fuzzy]", "sharp: [fuzzy]", 8, "the key 'sharp' twice"),
        ("names: [edge]", "names: [place]", 4, "'place' is a name of both fields 'border' and 'place'"),
        ("raised:\n", "'??':\n", 9, "has no letter or digit"),
        ("place:\n    values: {arm: [], elbow: {broader: [arm]}}", "place: {}", 10, "has no `values`"),
        ("ignored: [on the other hand]", "ignored: [[]", 3, "this is not YAML"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(file: Path, old: str, new: str, line: int, part: str) -> None:
    assert old in GOOD
    file.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_vocabulary(file)
    assert part in str(caught.value)
    assert caught.value.problems[0].where == str(file)
    assert line in [problem.line for problem in caught.value.problems]


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    file.write_text(
        GOOD.replace("names: [edge]", "nams: []").replace("[fuzzy]", "fuzzy: x"), encoding="utf-8"
    )
    with pytest.raises(InputError) as caught:
        load_vocabulary(file)
    assert len(caught.value.problems) == 1  # the second is not YAML
    file.write_text(GOOD.replace("names: [edge]", "nams: []").replace("[arm]}", "[leg]}"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_vocabulary(file)
    assert [problem.line for problem in caught.value.problems] == [5, 11]


@pytest.mark.parametrize(
    "text", ["", "- a", "fields: {}", "version: '1'", "version: '1'\nfields: {a: b}", "\x00", "a: \xe9"]
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"x\.yaml"):
        load_vocabulary(path)

"""The sheet for an expert: it survives a spreadsheet, and every mistake in it has a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.captioning.outputs import Layout
from skinflow_plugins.captioning.rows import Row
from skinflow_plugins.captioning.sheet import header, read_sheet, write_sheet
from skinflow_plugins.captioning.tries import Decision, History, Try
from skinflow_plugins.errors import InputError

FIELDS = {"colour": ("red", "skin-coloured", "grey, blue"), "image": ("sharp",), "size": ("small", "large")}


def row(id: str, diagnosis: str = "melanoma") -> Row:
    return Row(1, id, "/data/a.png", diagnosis, "s", "train", "V-VI", {"image": "/data/a.png"})


def past(*tries: Try, decision: Decision | None = None) -> History:
    made = tries or (
        Try(1, 0, "not recovered", {"colour": ["red"], "size": ["small", "large"]}, (), "said x"),
    )
    return History("s", "melanoma", list(made), decision)


def sheet(folder: Path, *shown: tuple[Row, History]) -> Path:
    file = folder / "review.csv"
    file.write_bytes(write_sheet(shown, FIELDS, Layout(folder)))
    return file


def table(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.read_text("utf-8-sig"), newline="")))


def put(file: Path, cells: Sequence[Sequence[str]], delimiter: str = ",") -> Path:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(cells)
    file.write_text(text.getvalue(), encoding="utf-8", newline="")
    return file


def edited(file: Path, number: int, **cells: str) -> Path:
    found = table(file)
    for name, value in cells.items():
        found[number][found[0].index(name.replace("_", " "))] = value
    return put(file, found)


def mistakes(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_sheet(file, FIELDS)
    return str(caught.value)


def test_what_an_expert_sees(tmp_path: Path) -> None:
    tries = (
        Try(1, 0, "leaks", {"colour": ["red"]}, (), "the caption names the diagnosis"),
        Try(2, 1, "not recovered", {"size": ["large"]}, (("nevus",),), "the judge named nevus"),
    )
    head, line = table(sheet(tmp_path, (row("é"), past(*tries))))
    assert head == header(FIELDS)
    assert head == [
        "id",
        "image",
        "diagnosis",
        "skin_tone",
        "tries",
        "decision",
        "colour",
        "caption image",
        "size",
        "note",
    ]
    told = "1. colour: red -> the caption names the diagnosis\n2. size: large -> the judge named nevus"
    assert line == ["é", "/data/a.png", "melanoma", "V-VI", told, "", "", "", "large", ""]


def test_untouched_it_decides_nothing(tmp_path: Path) -> None:
    (line,) = read_sheet(sheet(tmp_path, (row("a"), past())), FIELDS)
    assert (line.line, line.id, line.diagnosis, line.decision) == (2, "a", "melanoma", None)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_as_spreadsheets_save_it(tmp_path: Path, delimiter: str, encoding: str) -> None:
    file = sheet(tmp_path, (row("ä1"), past()), (row("b"), past()))
    cells = table(edited(edited(file, 1, decision="Accept", colour="RED; grey, blue"), 2, decision=" drop "))
    put(file, cells, delimiter)
    file.write_bytes(file.read_text().encode(encoding))
    first, second = read_sheet(file, FIELDS)
    assert first.id == "ä1"
    assert first.decision == Decision("accept", {"colour": ["red", "grey, blue"], "size": ["small", "large"]})
    assert second.decision == Decision("drop", {})


@given(
    st.dictionaries(
        st.sampled_from(["colour", "size"]),
        st.lists(st.sampled_from(["red", "grey, blue", "small", "large"]), max_size=3),
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20),
)
def test_decisions_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, caption: dict[str, list[str]], note: str
) -> None:
    right = {
        name: list(dict.fromkeys(v for v in values if v in FIELDS[name])) for name, values in caption.items()
    }
    kept = {name: right[name] for name in FIELDS if right.get(name)} or {"image": ["sharp"]}
    decided = Decision("accept", kept, note.strip())
    file = sheet(tmp_path_factory.mktemp("sheet"), (row("a"), past(decision=decided)))
    (line,) = read_sheet(file, FIELDS)
    assert line.decision == decided


@pytest.mark.parametrize("text", ["=1+1", "+49", "-", "@SUM(A1)", "'quoted", "\tx"])
def test_no_cell_is_a_formula(tmp_path: Path, text: str) -> None:
    file = sheet(tmp_path, (row(text.strip(), diagnosis=text), past(decision=Decision("drop", {}, text))))
    cells = table(file)[1]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)
    (line,) = read_sheet(file, FIELDS)
    assert line.id == text.strip()
    assert line.decision is not None
    assert line.decision.note.strip() == text.strip()


@pytest.mark.parametrize("separator", [";", ",", "\t", "\n"])
def test_what_a_judge_says_is_no_formula_with_another_separator_either(
    tmp_path: Path, separator: str
) -> None:
    """Where a country's settings ask for semicolons, a sheet with commas is cut at those within its cells."""
    said = f'the judge named nevus{separator}=HYPERLINK("http://e"){separator}-1'
    one = Try(1, 0, "not recovered", {"colour": ["red"]}, (), said)
    cells = table(sheet(tmp_path, (row("a"), past(one))))[1]
    parts = [part for cell in cells for part in cell.split(separator)]
    assert not any(part.startswith(("=", "+", "-", "@")) for part in parts)
    assert "=HYPERLINK" in cells[4]


def test_a_field_called_like_a_formula(tmp_path: Path) -> None:
    fields = {"=1+1": ("red",)}
    file = tmp_path / "review.csv"
    one = Try(1, 0, "not recovered", {"=1+1": ["red"]}, (), "said x")
    file.write_bytes(write_sheet([(row("a"), past(one))], fields, Layout(tmp_path)))
    head, line = table(file)
    assert not any(cell.startswith("=") for cell in head)
    line[head.index("decision")] = "accept"
    (found,) = read_sheet(put(file, [head, line]), fields)
    assert found.decision == Decision("accept", {"=1+1": ["red"]})


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    file = sheet(tmp_path, *((row(name), past()) for name in "abcde"))
    edited(file, 1, decision="acept")
    edited(file, 2, decision="accept", colour="rde", size="huge, small")
    edited(file, 3, decision="accept", colour="", size="")
    edited(file, 4, decision="drop", colour="anything goes, it is dropped")
    edited(file, 5, decision="accept", caption_image="SHARP")
    text = mistakes(file)
    assert f"{file}:2: decision: found 'acept'; expected accept, drop" in text
    assert f"{file}:3: colour: found 'rde', which is no value of this field\n    did you mean 'red'" in text
    assert f"{file}:3: size: found 'huge'" in text
    assert f"{file}:4: is accepted, but every caption field is empty" in text
    assert ":5:" not in text
    assert ":6:" not in text


def test_lines_are_those_of_the_file_even_where_cells_have_line_breaks(tmp_path: Path) -> None:
    two = (Try(1, 0, "leaks", {"size": ["large"]}, (), "x"), Try(2, 1, "leaks", {"size": ["large"]}, (), "x"))
    file = sheet(tmp_path, (row("a"), past(*two)), (row("b"), past()))
    edited(file, 2, decision="maybe")
    assert f"{file}:4: decision" in mistakes(file)


def changed_head(file: Path, change: Any) -> Path:
    cells = table(file)
    for line in cells:
        change(line)
    return put(file, cells)


def test_the_header_must_stay(tmp_path: Path) -> None:
    file = changed_head(sheet(tmp_path, (row("a"), past())), lambda line: line.pop(5))
    assert "review.csv:1: the column 'decision' is missing" in mistakes(file)
    file = changed_head(sheet(tmp_path, (row("a"), past())), lambda line: line.append("colours"))
    text = mistakes(file)
    assert "review.csv:1: unknown column 'colours'\n    did you mean 'colour'?; remarks belong into" in text
    file = changed_head(sheet(tmp_path, (row("a"), past())), lambda line: line.append("size"))
    assert "the column 'size' stands here twice" in mistakes(file)
    # What only helps the eye may go.
    file = changed_head(sheet(tmp_path, (row("a"), past())), lambda line: line.pop(4))
    assert read_sheet(file, FIELDS)[0].id == "a"


def test_what_is_no_sheet(tmp_path: Path) -> None:
    file = tmp_path / "review.csv"
    assert "cannot be read: No such file" in mistakes(file)
    file.write_text("")
    assert "the file is empty" in mistakes(file)
    file.write_bytes(b"\xd0\xcf\x11\xe0rest")
    assert "an Excel file of the old kind" in mistakes(file)
    file.write_bytes("id,diagnosis,decision,colour,caption image,size\n\xe4,x,,,,\n".encode("latin-1"))
    assert f"{file}:2: not UTF-8" in mistakes(file)
    file.write_text('id,diagnosis,decision,colour,caption image,size\na,b,"half\n')
    assert "is no CSV" in mistakes(file)


def test_a_value_with_a_bare_comma_breaks_the_line(tmp_path: Path) -> None:
    file = tmp_path / "review.csv"
    file.write_text("id,diagnosis,decision,colour,caption image,size\na,melanoma,accept,red,,small,large\n")
    assert f"{file}:2: found 7 cells; the header has 6" in mistakes(file)

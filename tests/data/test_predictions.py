"""Prediction files of ours and of other programs: what is read, what is counted, what a mistake is told."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skinflow_plugins.data.predictions import PredictionFile, read_predictions, write_predictions
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.errors import InputError

BASE64 = "iVBORw0KGgo" * 400


def jsonl(file: Path, *rows: Any) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    file.write_text(text + "\n", encoding="utf-8")
    return file


def table(file: Path, header: Sequence[str], *rows: Sequence[Any]) -> Path:
    """As pandas' to_csv(index=False, quoting=QUOTE_ALL) writes it, which VLMEvalKit calls."""
    text = io.StringIO()
    separator = "\t" if file.suffix == ".tsv" else ","
    csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [header, *rows]
    )
    file.write_text(text.getvalue(), encoding="utf-8")
    return file


def mistakes(file: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_predictions(file, **options)
    return str(caught.value)


def adds_up(read: PredictionFile) -> bool:
    lines = [*read.lines, *(line for found in read.left_out.values() for line in found)]
    return len(lines) == len(set(lines)) == read.rows and len(read.lines) == len(read.predictions)


# --- our own format


def test_a_full_row_and_a_bare_one(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "p.jsonl",
        {
            "id": 7,
            "answer": ["eczema", "pemphigus, benign"],
            "diagnosis": " eczema ",
            "skin_tone": "III",
            "group": 12,
            "confidence": [0.75, 1],
            "image": "a.jpg",
            "rewards": {"rank": 1, "format": 0.5, "judge": None},
            "age": 61,
            "note": None,
        },
        {"id": "b", "answer": "1. scabies\n2. eczema"},
    )
    read = read_predictions(file)
    assert (read.format, read.rows, read.lines, read.left_out) == ("jsonl", 2, [1, 2], {})
    assert read.predictions[0] == Prediction(
        "7",
        "diagnosis",
        '["eczema", "pemphigus, benign"]',
        {
            "id": "7",
            "diagnosis": "eczema",
            "skin_tone": "3",
            "group": "12",
            "confidence": [0.75, 1.0],
            "image": "a.jpg",
            "rewards": {"rank": 1.0, "format": 0.5},
            "age": 61,
            "note": None,
        },
    )
    assert read.predictions[1] == Prediction("b", "diagnosis", "1. scabies\n2. eczema", {"id": "b"})
    assert "read as jsonl (our JSON Lines)" in read.notes[0]
    assert read.notes[1] == "rows without a label: 1 (line 2)"
    assert len(read.sha256) == 64


def test_a_list_of_names_reads_back_as_the_same_list(tmp_path: Path) -> None:
    from skinflow_plugins.diagnosis.answers import parse_answer

    names = ["pemphigus, benign", "lichen; planus", 'so-called "naevus"']
    [prediction] = read_predictions(jsonl(tmp_path / "p.jsonl", {"id": "a", "answer": names})).predictions
    assert parse_answer(prediction.answer, 6) == [names[0], names[1], 'so-called "naevus']


def test_a_table_with_our_names(tmp_path: Path) -> None:
    header = ["", "id", "answer", "diagnosis", "skin_tone", "confidence", "rewards", "age"]
    rows = [
        [0, "007", "a; b", "eczema", "-1", "0.5", '{"rank": 1}', "61"],
        [1, "c", "one\ntwo, three", "", "5.0", "[0.5, 0.25]", "", ""],
    ]
    for file in (table(tmp_path / "p.csv", header, *rows), table(tmp_path / "p.tsv", header, *rows)):
        read = read_predictions(file)
        assert read.format == "csv"
        assert read.lines == [2, 3]
        first, second = (one.sample for one in read.predictions)
        assert first == {
            "id": "007",
            "diagnosis": "eczema",
            "confidence": 0.5,
            "rewards": {"rank": 1.0},
            "age": "61",
        }
        assert second == {"id": "c", "skin_tone": "5", "confidence": [0.5, 0.25]}
        assert f"columns of {file.name} without a name, which are not read: 1" in read.notes
    semicolons = tmp_path / "s.csv"
    semicolons.write_text("id;answer\na;eczema, scabies\n")
    assert read_predictions(semicolons).predictions[0].answer == "eczema, scabies"


def test_an_empty_answer_is_an_answer_and_is_counted(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "answer": answer, "diagnosis": "x"}
        for n, answer in enumerate([None, "", " ", [], "x"])
    ]
    read = read_predictions(jsonl(tmp_path / "p.jsonl", *rows))
    assert [one.answer for one in read.predictions] == ["", "", " ", "", "x"]
    assert "rows with an empty answer, which counts as a wrong one: 4 (lines 1, 2, 3, 4)" in read.notes
    assert adds_up(read)


def test_our_format_goes_round(tmp_path: Path) -> None:
    predictions = [
        Prediction("a", "diagnosis", "1. ek\u2028zem\x85\r\n\x00\x07", {"id": "a", "diagnosis": "eczema"}),
        Prediction(
            "b", "caption", "é" * 200_000, {"id": "b", "skin_tone": "34", "caption": {"colour": ["red"]}}
        ),
        Prediction("c", "diagnosis", "", {"id": "c", "confidence": [1.0], "rewards": {"rank": -0.5}}),
    ]
    write_predictions(tmp_path / "deep" / "p.jsonl", predictions)
    read = read_predictions(tmp_path / "deep" / "p.jsonl")
    assert read.predictions == predictions
    assert [one.name for one in (tmp_path / "deep").iterdir()] == ["p.jsonl"]


# --- columns


def test_columns_go_before_what_is_recognised(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "p.jsonl", {"uid": "a", "said": "x", "label": "eczema", "tone": 2})
    names = {"id": "uid", "answer": "said", "diagnosis": "label", "skin_tone": "tone"}
    [prediction] = read_predictions(file, columns=names).predictions
    assert prediction == Prediction(
        "a", "diagnosis", "x", {"diagnosis": "eczema", "skin_tone": "2", "id": "a"}
    )
    said = mistakes(file, columns={**names, "group": "lable", "tone": "tone"})
    assert "columns: unknown name 'tone'" in said
    said = mistakes(file, columns={**names, "group": "lable"})
    assert "no column 'lable', which `columns` names for 'group'" in said
    assert "did you mean 'label'?" in said


def test_a_label_under_another_name_is_pointed_out(tmp_path: Path) -> None:
    read = read_predictions(jsonl(tmp_path / "p.jsonl", {"id": "a", "answer": "x", "dx": "nv"}))
    assert any("there is a column 'dx': name it in `columns`" in note for note in read.notes)


# --- bad input


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "is a folder; expected a file" in mistakes(tmp_path)
    assert "cannot be read: No such file or directory" in mistakes(tmp_path / "absent.jsonl")
    for content in (b"", b" \n\n", b"\xef\xbb\xbf"):
        (tmp_path / "e.jsonl").write_bytes(content)
        assert "e.jsonl: the file" in mistakes(tmp_path / "e.jsonl")
    (tmp_path / "h.csv").write_text("id,answer\n")
    assert "h.csv: the file has no rows" in mistakes(tmp_path / "h.csv")
    for content, said in (
        (b"\x80\x04\x95junk", "pickle"),
        (b"\x1f\x8bjunk", "gzip"),
        (b"\xd0\xcf\x11\xe0junk", "old kind"),
        (b"PK\x03\x04junk", "is no XLSX file that can be read"),
        (b"\xff\xfe\x00\x00junk", "UTF-32"),
        (b"just words", "cannot be told; found (a table): 'just words'"),
    ):
        (tmp_path / "x.dat").write_bytes(content + b"\n1\n")
        assert said in mistakes(tmp_path / "x.dat")


def test_encodings(tmp_path: Path) -> None:
    text = '{"id": "a", "answer": "Sjögren"}\n{"id": "b", "answer": "naïve"}\n'
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "p.jsonl").write_text(text, encoding=encoding)
        assert read_predictions(tmp_path / "p.jsonl").predictions[1].answer == "naïve"
    (tmp_path / "p.jsonl").write_text(text, encoding="cp1252")
    said = mistakes(tmp_path / "p.jsonl")
    assert "p.jsonl:1: not UTF-8: invalid" in said
    assert "0xf6 at byte 25; also lines 2" in said
    assert "iconv -f WINDOWS-1252 -t UTF-8 p.jsonl" in said
    first, second = text.splitlines(keepends=True)
    (tmp_path / "p.jsonl").write_bytes(b"\xef\xbb\xbf" + first.encode() + second.encode("latin-1"))
    said = mistakes(tmp_path / "p.jsonl")
    assert "p.jsonl:2: not UTF-8" in said
    assert f"0xef at byte {3 + len(first.encode()) + second.index('ï')}" in said
    assert "mixes encodings" in said
    (tmp_path / "p.jsonl").write_text(text, encoding="utf-16-le")
    assert "UTF-16 without a byte order mark" in mistakes(tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").write_bytes(text.encode("utf-16")[:-1])
    assert "begins as UTF-16 but is not" in mistakes(tmp_path / "p.jsonl")


def test_json_mistakes_are_all_told_by_line(tmp_path: Path) -> None:
    good = {"id": "a", "answer": "x"}
    said = mistakes(jsonl(tmp_path / "p.jsonl", good, "{", "", "[1]", '{"id": "b", "answer": '))
    assert "p.jsonl:2: not JSON" in said
    assert "p.jsonl:4: found list; expected a JSON object" in said
    assert "p.jsonl:5: not JSON" in said
    with pytest.raises(InputError) as caught:
        read_predictions(jsonl(tmp_path / "p.jsonl", good, *["{"] * 50))
    assert len(caught.value.problems) == 21
    assert "and 30 more problems" in str(caught.value)
    (tmp_path / "p.json").write_text(json.dumps([good, good], indent=2))
    assert "the file is one JSON array over many lines" in mistakes(tmp_path / "p.json")
    deep = '{"id": "a", "answer": ' + "[" * 5000 + "]" * 5000 + "}"
    assert "p.jsonl:1: cannot be read: nested too deeply" in mistakes(jsonl(tmp_path / "p.jsonl", deep))
    huge = '{"id": ' + "1" * 5000 + ', "answer": "x"}'
    assert "p.jsonl:1: cannot be read: a number with too many" in mistakes(jsonl(tmp_path / "p.jsonl", huge))


def test_table_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text('id,answer\na,"x\nb,y\nc,z\n')
    said = mistakes(file)
    assert "p.csv:2: not a table" in said
    assert "a quote that is never closed?" in said
    file.write_text('id,answer\na,x\n\nb,"two\nlines",more\nc\n')
    said = mistakes(file)
    assert "p.csv:4: found 3 cells; expected 2, as in the header" in said
    assert "p.csv:6: found 1 cells" in said
    file.write_text("id,answer,id\na,x,b\n")
    assert "the column 'id' stands there twice" in mistakes(file)


def test_values_that_cannot_be(tmp_path: Path) -> None:
    good = {"answer": "x"}
    rows = [
        {"id": None, **good},
        {"id": True, **good},
        {"id": " ", **good},
        {"id": 1.5, **good},
        {"id": "a", "answer": 3},
        {"id": "b"},
        {"answer": "x"},
        {"id": "c", **good, "confidence": 1.01},
        {"id": "d", **good, "confidence": [0.5, "0.5"]},
        '{"id": "e", "answer": "x", "confidence": NaN}',
        {"id": "f", **good, "diagnosis": ["x"]},
        {"id": "g", **good, "skin_tone": "dark"},
        {"id": "h", **good, "rewards": {"rank": "1"}},
        {"id": "i", **good, "group": [1]},
        {"id": "j", **good, "task": 4},
        {"id": "k", **good, "confidence": -0.0},
        {"id": 10**400, **good, "confidence": 10**400},
    ]
    with pytest.raises(InputError) as caught:
        read_predictions(jsonl(tmp_path / "p.jsonl", *rows))
    told = {problem.line for problem in caught.value.problems}
    assert told == {*range(1, 16), 17}
    assert "p.jsonl:6: no key 'answer'; every row needs one" in str(caught.value)
    assert "p.jsonl:7: no key 'id'; every row needs one" in str(caught.value)
    assert "p.jsonl:5: answer: found 3; expected text or a list of names by rank" in str(caught.value)


def test_a_slip_in_a_key(tmp_path: Path) -> None:
    rows = [{"id": str(n), "answer": "x", "diagnosi": "eczema"} for n in range(30)]
    said = mistakes(jsonl(tmp_path / "p.jsonl", *rows))
    assert said.count("diagnosi'") == 1
    assert "p.jsonl:1: unknown key 'diagnosi' in 30 rows, of which this is the first" in said
    assert "did you mean 'diagnosis'?" in said
    read = read_predictions(tmp_path / "p.jsonl", columns={"diagnosis": "diagnosi"})
    assert read.predictions[0].sample["diagnosis"] == "eczema"


def test_ids_that_occur_twice(tmp_path: Path) -> None:
    row = {"id": "a", "answer": "x"}
    said = mistakes(
        jsonl(tmp_path / "p.jsonl", row, {"id": "b", "answer": "x"}, row, {"id": "b", "answer": "y"})
    )
    assert "p.jsonl:3: the id 'a' stands on line 1 and again on line 3" in said
    assert "they say the same: remove one" in said
    assert "p.jsonl:4: the id 'b' stands on line 2 and again on line 4" in said
    with pytest.raises(InputError) as caught:
        read_predictions(jsonl(tmp_path / "p.jsonl", *[row] * 100))
    assert len(caught.value.problems) == 6
    assert "and 94 more ids like these" in str(caught.value)


def test_answers_are_kept_as_they_are(tmp_path: Path) -> None:
    answers = [
        "\x00\x01\x1b[31m",
        "\u202eamozce\u2029",
        "x, " * 70_000,
        {"diagnoses": ["a", 1]},
        [["a"], None],
    ]
    rows = [{"id": str(n), "answer": answer} for n, answer in enumerate(answers)]
    read = read_predictions(jsonl(tmp_path / "p.jsonl", *rows))
    assert [one.answer for one in read.predictions] == [
        *answers[:3],
        '{"diagnoses": ["a", 1]}',
        '[["a"], null]',
    ]
    file = table(tmp_path / "p.csv", ["id", "answer"], *([n, answer] for n, answer in enumerate(answers[:3])))
    assert [one.answer for one in read_predictions(file).predictions] == answers[:3]
    limit = csv.field_size_limit()
    assert limit == 131_072


def test_half_a_surrogate_pair_never_reaches_a_report(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(
        '{"id": "a", "answer": "x\\ud800", "n": {"\\udfff": ["\\udead"]}}\n'
        '{"id": "b", "answer": "\\ud83d\\ude00"}\n'
    )
    read = read_predictions(file)
    assert read.predictions[0].answer == "x\ufffd"
    assert read.predictions[1].answer == "\U0001f600"
    assert "rows with half of a surrogate pair, read as U+FFFD: 1" in read.notes
    write_predictions(tmp_path / "o.jsonl", [Prediction("a", "t", "\ud800", {})])
    assert read_predictions(tmp_path / "o.jsonl").predictions[0].answer == "\ufffd"


# --- laws

TEXT = st.text(max_size=30)
ROW = st.fixed_dictionaries(
    {"answer": st.one_of(st.none(), TEXT, st.lists(TEXT, max_size=4))},
    optional={
        "diagnosis": st.one_of(st.none(), TEXT),
        "skin_tone": st.sampled_from([None, "", -1, 1, "III", "12", "FST6", "unknown"]),
        "group": st.one_of(st.none(), st.integers(), st.text(alphabet="xyz", min_size=1, max_size=4)),
        "confidence": st.one_of(st.none(), st.floats(0, 1), st.lists(st.floats(0, 1), max_size=4)),
        "age": st.integers(),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_counts_add_up_and_our_format_goes_round(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("\n".join(json.dumps({"id": n, **row}) for n, row in enumerate(rows)))
    read = read_predictions(file)
    assert read.rows == len(rows)
    assert adds_up(read)
    write_predictions(tmp_path / "again.jsonl", read.predictions)
    assert read_predictions(tmp_path / "again.jsonl").predictions == read.predictions


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_give_predictions_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    for start in (b"", b'{"id": 1, "answer": "', b"id,answer\n", b"PK\x03\x04", b"\xff\xfe"):
        (tmp_path / "x").write_bytes(start + content)
        with contextlib.suppress(InputError):
            assert adds_up(read_predictions(tmp_path / "x"))


def test_a_whole_data_set_takes_less_than_a_second(tmp_path: Path) -> None:
    names = [f"disease number {n}" for n in range(6)]
    rows = [
        {
            "id": f"{n:032x}",
            "answer": names,
            "diagnosis": names[n % 6],
            "skin_tone": n % 6 + 1,
            "confidence": 0.5,
        }
        for n in range(16_577)
    ]
    file = jsonl(tmp_path / "p.jsonl", *rows)
    seconds = []
    for _ in range(3):  # the machine may be busy
        start = time.process_time()
        read = read_predictions(file)
        seconds.append(time.process_time() - start)
    assert len(read.predictions) == 16_577
    assert min(seconds) < 1

"""Labels from a file of their own: names that public data sets use, joins, and what a mistake is told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.data.prediction_formats.labels import COLUMNS
from skinflow_plugins.data.prediction_formats.values import skin_tone
from skinflow_plugins.data.predictions import read_predictions
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


@pytest.mark.parametrize("id", COLUMNS["id"])
@pytest.mark.parametrize("diagnosis", COLUMNS["diagnosis"])
def test_names_that_public_data_sets_use(tmp_path: Path, id: str, diagnosis: str) -> None:
    predictions = jsonl(tmp_path / "p.jsonl", {"id": "a", "answer": "x"})
    for tone in COLUMNS["skin_tone"]:
        labels = table(tmp_path / "l.csv", [id, diagnosis, tone, "patient_id"], ["a", "eczema", "3.0", "P"])
        [one] = read_predictions(predictions, labels=labels).predictions
        assert one.sample == {"id": "a", "diagnosis": "eczema", "skin_tone": "3", "group": "P"}


def test_labels_of_fitzpatrick17k_old_and_new(tmp_path: Path) -> None:
    predictions = jsonl(tmp_path / "p.jsonl", *({"id": name, "answer": "x"} for name in "abc"))
    old = table(
        tmp_path / "old.csv", ["md5hash", "fitzpatrick", "label"], ["a", 3, "acne"], ["b", -1, "acne"]
    )
    read = read_predictions(predictions, labels=old)
    assert [one.sample.get("skin_tone") for one in read.predictions] == ["3", None, None]
    assert "predictions without a row in old.csv: 1" in read.notes
    assert "rows without a label: 1 (line 3)" in read.notes
    new = table(
        tmp_path / "new.csv",
        ["md5hash", "fitzpatrick_scale", "fitzpatrick", "label"],
        *([name, 5, 1, "acne"] for name in "abcd"),
    )
    read = read_predictions(predictions, labels=new)
    assert {one.sample["skin_tone"] for one in read.predictions} == {"5"}
    note = "new.csv has 'fitzpatrick_scale' and 'fitzpatrick'; 'fitzpatrick_scale' is read as skin_tone"
    assert note in read.notes
    assert "rows of new.csv without a prediction: 1" in read.notes


def test_labels_by_the_image_s_name(tmp_path: Path) -> None:
    labels = jsonl(tmp_path / "l.jsonl", {"img_id": "PAT_1.png", "diagnostic": "NEV"}, {"img_id": "x/b.png"})
    rows = [{"id": "1", "answer": "x", "image": "C:\\photos\\PAT_1.jpg"}, {"id": "x/b.png", "answer": "y"}]
    read = read_predictions(jsonl(tmp_path / "p.jsonl", *rows), labels=labels)
    assert read.predictions[0].sample["diagnosis"] == "NEV"
    assert "predictions whose label in l.jsonl was found by the name of their image: 1" in read.notes


def test_an_index_that_is_another_image_s_id(tmp_path: Path) -> None:
    labels = table(tmp_path / "l.csv", ["DDI_ID", "disease"], [1, "acne"], [2, "eczema"])
    file = table(tmp_path / "m.tsv", ["index", "image_path", "prediction"], [1, "/ddi/2.png", "acne"])
    said = mistakes(file, labels=labels)
    assert "m.tsv:2: the id '1' is the label row" in said
    assert "l.csv:2, but the image '/ddi/2.png' is line 3 of it" in said


def test_labels_that_differ_name_both_lines(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "answer": "x", "diagnosis": "Basal_cell carcinoma"},
        {"id": "b", "answer": "x", "diagnosis": "b"},
    ]
    predictions = jsonl(tmp_path / "p.jsonl", *rows)
    labels = table(tmp_path / "l.csv", ["id", "dx"], ["b", "acne"], ["a", "basal-cell carcinoma"])
    said = mistakes(predictions, labels=labels)
    assert f"p.jsonl:2: diagnosis: found 'b' for 'b'; {labels}:2 says 'acne'" in said
    assert "basal" not in said
    read = read_predictions(predictions, labels=labels, columns={"diagnosis": "dx"})
    assert [one.sample["diagnosis"] for one in read.predictions] == ["basal-cell carcinoma", "acne"]


def test_mistakes_in_labels(tmp_path: Path) -> None:
    predictions = jsonl(tmp_path / "p.jsonl", {"id": "a", "answer": "x", "confidence": 2})

    def said(*rows: Sequence[Any]) -> str:
        return mistakes(predictions, labels=table(tmp_path / "l.csv", rows[0], *rows[1:]))

    found = said(
        ["id", "fst", "label"], ["a", "7", "x"], ["b", "FST2", "x"], ["", "dark", "x"], ["d", "dark", "x"]
    )
    assert "p.jsonl:1: confidence: found 2; expected a number in [0, 1]" in found  # all at once
    assert 'l.csv:2: fst: found "7"; expected a Fitzpatrick type' in found
    assert "l.csv:4: id: found null; expected text" in found
    assert 'l.csv:5: fst: found "dark"' in found
    assert ":3:" not in found
    found = said(["id", "label"], ["a", "x"], ["a", "x"], ["b", "x"], ["b", "y"])
    assert "the id 'a' stands on line 2 and again on line 3" in found
    assert "they say the same: remove one" in found
    assert "they differ" in found
    predictions = jsonl(tmp_path / "p.jsonl", {"id": "a", "answer": "x"})
    assert "no column with an id; expected one of id, md5hash" in said(["name", "label"], ["a", "x"])
    assert "no column with a label, skin tone or group" in said(["id", "colour"], ["a", "x"])
    assert "unknown key 'diagnosi'" in said(["id", "diagnosi", "fst"], ["a", "x", "1"])
    assert "the file has no rows" in said(["id", "label"])
    found = said(["id", "label"], ["A", "x"], ["B", "x"])
    assert "no prediction has a label in" in found
    assert "ids here 'a', there 'A', 'B' (column 'id')" in found
    assert "cannot be read: No such file" in mistakes(predictions, labels=tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *(
            (unknown, None)
            for unknown in (None, "", " ", -1, -1.0, "-1", "-1.0", "nan", "NaN", "unknown", "null")
        ),
        *((float("nan"), None), (3, "3"), (3.0, "3"), ("3.0", "3"), ("FST3", "3"), ("III", "3"), ("iv", "4")),
        *(
            ("Fitzpatrick skin type V", "5"),
            ("type_2", "2"),
            ("VI", "6"),
            (12, "12"),
            ("34", "34"),
            (56.0, "56"),
        ),
        *(("III-IV", "34"), ("1-2", "12"), ("V/VI", "56"), ("I–II", "12")),
    ],
)
def test_skin_tones(written: Any, read: str | None) -> None:
    assert skin_tone(written) == read


@pytest.mark.parametrize(
    "written", ["0", "7", "13", "II-III", "-2", "2.5", "dark", "VII", "IIII", "12 34", True, [3]]
)
def test_what_is_no_skin_tone(written: Any) -> None:
    with pytest.raises(ValueError, match="expected a Fitzpatrick type"):
        skin_tone(written)

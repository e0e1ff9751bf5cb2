"""Files exactly as ms-swift, VLMEvalKit and evalscope write them, and how they are told apart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skinflow_plugins.data.predictions import PredictionFile, read_predictions
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


def xlsx(file: Path, header: Sequence[str], *rows: Sequence[Any], more: Iterable[str] = ()) -> Path:
    book = openpyxl.Workbook()
    for row in (header, *rows):
        book.active.append(list(row))
    for name in more:
        book.create_sheet(name)
    book.save(file)
    return file


def mistakes(file: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_predictions(file, **options)
    return str(caught.value)


def adds_up(read: PredictionFile) -> bool:
    lines = [*read.lines, *(line for found in read.left_out.values() for line in found)]
    return len(lines) == len(set(lines)) == read.rows and len(read.lines) == len(read.predictions)


# --- ms-swift: SwiftInfer._batch_infer writes response, labels, logprobs, then the row


def swift_row(response: Any, label: str | None, image: str, **more: Any) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": "<image>Which disease is this?"},
        {"role": "assistant", "content": response},
    ]
    images = [{"bytes": None, "path": image}]
    return {
        "response": response,
        "labels": label,
        "logprobs": None,
        "messages": messages,
        "images": images,
        **more,
    }


def test_swift(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "result.jsonl",
        swift_row("<think>…</think>1. eczema", "eczema", "/data/a.jpg"),
        swift_row("", None, "/data/b.jpg", objects={"ref": []}),
        swift_row([0.5, 0.25], None, "/data/c.jpg"),
    )
    read = read_predictions(file)
    assert read.format == "swift"
    assert read.predictions == [
        Prediction(
            "/data/a.jpg",
            "diagnosis",
            "<think>…</think>1. eczema",
            {"id": "/data/a.jpg", "image": "/data/a.jpg", "diagnosis": "eczema"},
        ),
        Prediction(
            "/data/b.jpg",
            "diagnosis",
            "",
            {"id": "/data/b.jpg", "image": "/data/b.jpg", "objects": {"ref": []}},
        ),
    ]
    assert read.left_out == {"the response is no text (the model is no language model?)": [3]}
    assert adds_up(read)
    assert "the rows have no 'id': each is named by its image" in read.notes


def test_swift_rows_about_one_image_are_named_by_their_number(tmp_path: Path) -> None:
    labels = table(tmp_path / "l.csv", ["md5hash", "label"], ["a", "eczema"])
    rows = [swift_row("x", None, "/data/a.jpg"), swift_row("y", None, "/data/a.jpg")]
    read = read_predictions(jsonl(tmp_path / "r.jsonl", *rows), labels=labels)
    assert [one.id for one in read.predictions] == ["row 1", "row 2"]
    assert [one.sample["diagnosis"] for one in read.predictions] == ["eczema", "eczema"]
    assert "predictions whose label in l.csv was found by the name of their image: 2" in read.notes


def test_swift_rows_that_kept_their_id(tmp_path: Path) -> None:
    rows = [swift_row("x", "y", "a.jpg", id="first"), swift_row("x", "y", "a.jpg", id="second")]
    read = read_predictions(jsonl(tmp_path / "r.jsonl", *rows))
    assert [one.id for one in read.predictions] == ["first", "second"]
    del rows[1]["id"]
    assert "r.jsonl:2: no key 'id'" in mistakes(jsonl(tmp_path / "r.jsonl", *rows))


# --- VLMEvalKit: the benchmark's table without `image`, and `prediction`

VLM = ["index", "question", "answer", "category", "image_path", "prediction"]


@pytest.mark.parametrize("kind", ["tsv", "xlsx"])
def test_vlmevalkit(tmp_path: Path, kind: str) -> None:
    rows = [
        [0, "What is this?", "eczema", "rash", "0.jpg", '1. "eczema"\n2. scabies\t!'],
        [1, "What is this?", "scabies", "rash", "1.jpg", "Failed to obtain answer via API."],
        [2, "What is this?", "", "rash", "2.jpg", ""],
    ]
    write = xlsx if kind == "xlsx" else table
    read = read_predictions(write(tmp_path / f"model_Derm.{kind}", VLM, *rows))
    assert (read.format, read.rows) == ("vlmevalkit", 3)
    assert read.predictions[0] == Prediction(
        "0",
        "diagnosis",
        '1. "eczema"\n2. scabies\t!',
        {"id": "0", "diagnosis": "eczema", "category": "rash", "question": "What is this?", "image": "0.jpg"},
    )
    assert read.predictions[1].answer == ""
    assert "diagnosis" not in read.predictions[1].sample
    # The first value of the TSV goes over two lines.
    assert read.lines == ([2, 5] if kind == "tsv" else [2, 4])
    assert read.left_out == {"VLMEvalKit failed to obtain an answer": [4 if kind == "tsv" else 3]}
    assert adds_up(read)


def test_vlmevalkit_pictures_are_not_kept_and_letters_are_read(tmp_path: Path) -> None:
    header = ["index", "image", "id", "question", "A", "B", "answer", "prediction"]
    file = table(
        tmp_path / "m.tsv",
        header,
        [5, BASE64, "x5", "Which?", "eczema", "scabies", "B", "A."],
        [6, BASE64, "x6", "Which?", "eczema", "scabies", "A", "I think B"],
    )
    read = read_predictions(file)
    assert read.format == "vlmevalkit"
    assert [one.answer for one in read.predictions] == ["eczema", "I think B"]
    assert [one.sample["diagnosis"] for one in read.predictions] == ["scabies", "eczema"]
    assert not any(BASE64 in str(one) for one in read.predictions)


def test_what_xlsx_does_to_text(tmp_path: Path) -> None:
    long = "x" * 32_767
    rows = [["a", "q", "eczema", "_x0007_bell _x005F_x0041_"], [1.0, "q", "eczema", long], [None] * 4]
    file = xlsx(tmp_path / "m.xlsx", ["index", "question", "answer", "prediction"], *rows, more=["Notes"])
    read = read_predictions(file)
    assert [one.id for one in read.predictions] == ["a", "1"]
    assert read.predictions[0].answer == "\x07bell _x0041_"
    assert any("XLSX holds: 1 (first: row 3); the rest is probably lost" in note for note in read.notes)
    assert any("only the first, 'Sheet', is read" in note for note in read.notes)


# --- evalscope: ReviewResult and ModelResult, as evalscope 1.14 dumps them


def review(index: int, prediction: str | None, target: Any, group: int | None = None) -> dict[str, Any]:
    content = [{"type": "text", "text": "Which disease?"}, {"type": "image", "image": f"/data/{index}.jpg"}]
    score = {
        "value": {"Rouge-L-R": 0.5},
        "status": "success",
        "judge_summary": None,
        "extracted_prediction": prediction,
        "prediction": prediction,
        "explanation": None,
        "metadata": {},
        "main_score_name": "Rouge-L-R",
    }
    return {
        "index": index,
        "target": target,
        "messages": [
            {"id": "5f0c", "role": "user", "content": content},
            {"id": "5f0d", "role": "assistant", "content": prediction},
        ],
        "agent_trace": None,
        "sample_score": {
            "score": score,
            "sample_id": index,
            "group_id": index if group is None else group,
            "generation_index": 0,
            "sample_metadata": {},
        },
    }


def model_result(index: int, content: Any, **output: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choices = [] if content is None else [{"message": message, "stop_reason": "stop", "logprobs": None}]
    return {
        "index": index,
        "model": "m",
        "model_output": {"id": "x", "model": "m", "choices": choices, "usage": None, "error": None, **output},
        "messages": [],
        "agent_trace": None,
        "metadata": {},
    }


def test_evalscope_reviews(tmp_path: Path) -> None:
    old = {**review(1, "scabies", None), "target": "scabies", "input": "![image](x)"}
    rows = [review(0, "1. eczema", ["eczema"]), old, review(2, "", ["a", "b"]), review(3, None, None)]
    read = read_predictions(jsonl(tmp_path / "general_vqa_default.jsonl", *rows))
    assert read.format == "evalscope"
    assert read.predictions[0] == Prediction(
        "0", "diagnosis", "1. eczema", {"id": "0", "diagnosis": "eczema", "image": "/data/0.jpg"}
    )
    assert read.predictions[1].sample["diagnosis"] == "scabies"
    assert read.predictions[2].sample["several_targets"] == ["a", "b"]
    assert "diagnosis" not in read.predictions[2].sample
    assert read.left_out == {"evalscope has no answer of the model": [4]}
    assert adds_up(read)


def test_evalscope_predictions(tmp_path: Path) -> None:
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "1. eczema"}]
    rows = [
        model_result(0, "1. scabies"),
        model_result(1, parts),
        model_result(2, None, error="content moderation"),
        {**model_result(3, None), "model_output": None},
    ]
    labels = table(
        tmp_path / "l.csv", ["index", "label"], [0, "scabies"], [1, "eczema"], [2, "acne"], [9, "acne"]
    )
    read = read_predictions(jsonl(tmp_path / "p.jsonl", *rows), labels=labels)
    assert [one.answer for one in read.predictions] == ["1. scabies", "1. eczema", ""]
    assert [one.sample["diagnosis"] for one in read.predictions] == ["scabies", "eczema", "acne"]
    assert read.left_out == {"evalscope has no answer of the model": [4]}
    assert "rows of l.csv without a prediction: 1" in read.notes


def test_evalscope_repeats_have_the_label_of_their_question(tmp_path: Path) -> None:
    rows = [review(index, "x", None, group=index // 2) for index in range(4)]
    for row in rows:
        row["messages"] = []
    labels = table(tmp_path / "l.csv", ["index", "label"], [0, "eczema"], [1, "acne"])
    read = read_predictions(jsonl(tmp_path / "p.jsonl", *rows), labels=labels)
    assert [one.sample["diagnosis"] for one in read.predictions] == ["eczema", "eczema", "acne", "acne"]


# --- which format


def test_what_is_not_recognised_lists_what_each_format_needs(tmp_path: Path) -> None:
    said = mistakes(jsonl(tmp_path / "p.jsonl", {"id": "a", "anwser": "x", "zeta": 1}))
    assert "cannot be told; found (JSON Lines): 'anwser', 'id', 'zeta'" in said
    assert "no 'answer': did you mean 'anwser'?" in said
    for needs in (
        "jsonl: 'id' and 'answer'",
        "swift: 'response' and 'messages'",
        "vlmevalkit: the columns 'index'",
        "evalscope: 'index'",
        "csv: the columns",
    ):
        assert needs in said
    questions = {"messages": [], "answer": "eczema"}
    assert "questions of a data set" in mistakes(jsonl(tmp_path / "q.jsonl", questions))


def test_an_ambiguous_file_needs_the_format_by_name(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "p.jsonl", {"id": "a", "answer": "x", "response": "y", "messages": []})
    said = mistakes(file)
    assert "could be of several formats: jsonl and swift" in said
    assert "name the format" in said
    assert read_predictions(file, format="swift").predictions[0].answer == "y"
    assert read_predictions(file, format="jsonl").predictions[0].answer == "x"
    assert read_predictions(file, format="jsonl").notes[0] == "read as jsonl (our JSON Lines), as asked"
    assert "did you mean 'evalscope'?" in mistakes(file, format="evalscop")
    assert "the file is JSON Lines; the format csv is a table or XLSX" in mistakes(file, format="csv")
    assert "no key 'index'; every row needs one" in mistakes(file, format="vlmevalkit")


# --- law


TEXT = st.text(max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_counts_add_up_in_the_formats_of_others(tmp_path: Path, data: st.DataObject) -> None:
    said = data.draw(
        st.lists(st.one_of(st.none(), TEXT, st.just("Failed to obtain answer: x")), min_size=1, max_size=8)
    )
    files = [
        jsonl(tmp_path / "s.jsonl", *(swift_row(one or [1], None, f"{n}.jpg") for n, one in enumerate(said))),
        jsonl(tmp_path / "r.jsonl", *(review(n, one, ["x"]) for n, one in enumerate(said))),
        jsonl(tmp_path / "m.jsonl", *(model_result(n, one) for n, one in enumerate(said))),
        table(tmp_path / "v.tsv", VLM, *([n, "q", "x", "c", "", one or ""] for n, one in enumerate(said))),
    ]
    for file in files:
        read = read_predictions(file)
        assert read.rows == len(said)
        assert adds_up(read)

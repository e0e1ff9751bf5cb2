"""JSON lines that we read: only a line feed ends one, whatever else stands in a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge import reward_log
from skinflow_plugins.bridge.evaluating import evaluator, record
from skinflow_plugins.bridge.predict import predict
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.errors import WorkFailed

TEXT = "psoriasis\u2028eczema\u2029acne\x85scabies\nmelanoma"


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def question(place: int) -> dict[str, Any]:
    sample = json.dumps({"id": f"{place}{TEXT}"}, ensure_ascii=False)
    return {"id": f"{place}{TEXT}", "task": "diagnosis", "sample": sample, "images": [f"/{place}.png"]}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return written(tmp_path / "questions.jsonl", [question(0), question(1)])


def test_answers_with_line_separators_are_read(questions: Path, tmp_path: Path) -> None:
    answers = [{"response": TEXT, "images": [{"path": f"/{place}.png"}]} for place in range(2)]
    out = written(tmp_path / "answers.jsonl", answers)
    nothing: Any = None  # answers that are there need no model
    found = predict(nothing, None, questions, out)
    assert [(each.id, each.answer) for each in found] == [(f"{place}{TEXT}", TEXT) for place in range(2)]
    assert found[0].sample == {"id": f"0{TEXT}"}
    written(out, answers[:1])
    with pytest.raises(WorkFailed, match="does not answer"):
        predict(nothing, None, questions, out)


def test_questions_with_line_separators_are_asked_in_training(questions: Path) -> None:
    assert evaluator._rows(questions) == [question(0), question(1)]


def test_logs_with_line_separators_keep_their_lines(tmp_path: Path) -> None:
    rows = [{"step": step, "id": TEXT, "task": "diagnosis", "completion": TEXT} for step in (1, 2)]
    part = written(tmp_path / reward_log.PART.format(rank=0), rows)
    reward_log.drop_after(tmp_path, 1)
    assert part.read_text(encoding="utf-8") == json.dumps(rows[0], ensure_ascii=False) + "\n"
    (joined,) = reward_log.join(tmp_path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert json.loads(joined)["completion"] == TEXT
    prediction = Prediction(TEXT, "diagnosis", TEXT, {"id": TEXT})
    record.add(tmp_path, 3, {"diagnosis": [prediction]}, {TEXT: 0.5}, None)
    assert [row["figures"] for row in record.read(tmp_path)] == [{TEXT: 0.5}]

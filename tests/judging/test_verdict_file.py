import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis import Taxonomy
from skinflow_plugins.errors import InputError
from skinflow_plugins.judging import Judge, Judged, judge_predictions, read_verdicts, write_verdicts

Predicted = Callable[..., list[Prediction]]
PAIRS = (
    ("melanoma", "1. not melanoma\n2. melanoma\n3. nevus"),
    ("psoriasis", "nevus; psoriasis"),
    ("melanoma", ""),
    ("Sj\u00f6gren", "\ud800; SK"),
)


@pytest.fixture
def predictions(predicted: Predicted) -> list[Prediction]:
    return predicted(*PAIRS)


@pytest.fixture
def judged(
    server: Any, taxonomy: Taxonomy, judge_of: Callable[..., Judge], predictions: list[Prediction]
) -> Judged:
    """Three runs, one of which fails on psoriasis, and all of which fail on the last record."""

    def script(request: dict[str, Any]) -> Any:
        truth = server.data_of(request)["reference"]
        lost = truth == "Sj\u00f6gren" or (truth == "psoriasis" and request["seed"] == 1)
        return server.Reply(server.completion("?")) if lost else server.honest(request)

    server.script = script
    return judge_predictions(predictions, taxonomy, judge_of(runs=3), top_k=3)


@pytest.fixture
def file(judged: Judged, tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "verdicts.jsonl"
    write_verdicts(judged, path)
    return path


def test_what_was_written_is_read_without_a_call(
    server: Any, judged: Judged, file: Path, predictions: list[Prediction], taxonomy: Taxonomy
) -> None:
    before = len(server.requests)
    found = read_verdicts(file, predictions, taxonomy, top_k=3)
    assert len(server.requests) == before
    assert np.array_equal(found.run_codes, judged.run_codes)
    assert np.array_equal(found.codes, judged.codes)
    assert found.failed.tolist() == judged.failed.tolist() == [False, False, False, True]
    assert found.as_dict() == judged.as_dict()
    assert (found.asked, found.subjects) == (judged.asked, judged.subjects)
    assert [path.name for path in file.parent.iterdir()] == ["verdicts.jsonl"]


def test_the_file_reads_as_its_text_says(file: Path) -> None:
    head, *records = [json.loads(line) for line in file.read_text().splitlines()]
    assert (head["format"], head["kind"], head["top_k"], head["records"]) == (1, "skinflow verdicts", 3, 4)
    assert head["judge"]["taxonomy"] == "demo 2"
    assert head["failures"]["unparsable"] == 4
    assert records[0]["items"] == ["", "melanoma", "nevus"]
    assert records[0]["runs"] == [[None, "correct", "critical"]] * 3
    assert records[1]["runs"] == [["wrong", "correct"], None, ["wrong", "correct"]]
    assert records[3]["runs"] == [None] * 3


def test_the_order_of_the_predictions_is_theirs(
    judged: Judged, file: Path, predictions: list[Prediction], taxonomy: Taxonomy
) -> None:
    found = read_verdicts(file, predictions[::-1], taxonomy, top_k=3)
    assert found.codes.tolist() == judged.codes.tolist()[::-1]


def test_other_predictions_are_refused_all_at_once(
    file: Path, predictions: list[Prediction], taxonomy: Taxonomy
) -> None:
    other = [
        replace(predictions[0], answer="melanoma"),
        replace(predictions[1], sample={"diagnosis": "melanoma"}),
        replace(predictions[2], id="new"),
        predictions[3],
    ]
    with pytest.raises(InputError) as caught:
        read_verdicts(file, other, taxonomy, top_k=3)
    found = [(problem.line, problem.message) for problem in caught.value.problems]
    assert found == [
        (2, "record 'p0': the answer is not the one that was judged"),
        (3, "record 'p1': the reference was 'psoriasis' and is 'melanoma'"),
        (4, "record 'p2' is not among the predictions"),
        (None, "holds no verdict on prediction 'new'"),
    ]


def test_another_reading_of_an_answer_is_refused(
    file: Path, predictions: list[Prediction], taxonomy: Taxonomy
) -> None:
    text = file.read_text().replace('"items": ["nevus", "psoriasis"]', '"items": ["nevus, psoriasis"]')
    file.write_text(text)
    with pytest.raises(
        InputError, match="the answer is not read as the same items; the taxonomy has changed"
    ):
        read_verdicts(file, predictions, taxonomy, top_k=3)


def test_another_top_k_is_refused(file: Path, predictions: list[Prediction], taxonomy: Taxonomy) -> None:
    with pytest.raises(InputError, match="holds verdicts on the first 3, not 6"):
        read_verdicts(file, predictions, taxonomy)


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, lambda text: "", "expected a first line with kind 'skinflow verdicts'"),
        (1, lambda text: text.replace('"format": 1', '"format": 2'), "format 1 and the judge"),
        (1, lambda text: text.replace('"runs": 3', '"runs": "3"'), "and the judge"),
        (1, lambda text: text.replace('"runs": 3', '"runs": 0'), "and the judge"),
        (
            1,
            lambda text: text.replace('"runs": 3', '"runs": 2'),
            "expected 2 runs with a verdict on each item",
        ),
        (2, lambda text: text[:50], "is no record of verdicts"),
        (2, lambda text: "", "is no record of verdicts"),
        (2, lambda text: text.replace('"correct"', '"right"'), "expected 3 runs with a verdict on each item"),
        (2, lambda text: text.replace('"correct"', "null"), "expected 3 runs"),
        (2, lambda text: text.replace('[[null, "c', '[["wrong", "c'), "expected 3 runs"),
        (2, lambda text: text.replace('[[null, "correct", ', "[[null, "), "expected 3 runs"),
        (2, lambda text: text.replace('"runs": [', '"runs": 7, "x": ['), "expected 3 runs"),
        (3, lambda text: text.replace('"p1"', '"p0"'), "record 'p0' stands here twice"),
    ],
)
def test_a_damaged_file_says_where(
    file: Path,
    predictions: list[Prediction],
    taxonomy: Taxonomy,
    line: int,
    change: Callable[[str], str],
    message: str,
) -> None:
    lines = file.read_text().splitlines()
    lines[line - 1] = change(lines[line - 1])
    file.write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_verdicts(file, predictions, taxonomy, top_k=3)
    assert message in str(caught.value)
    assert f"{file}:" in str(caught.value)


def test_files_that_are_none(tmp_path: Path, predictions: list[Prediction], taxonomy: Taxonomy) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_verdicts(tmp_path / "none.jsonl", predictions, taxonomy)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(InputError, match="expected a first line"):
        read_verdicts(empty, predictions, taxonomy)
    empty.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_verdicts(empty, predictions, taxonomy)


def test_a_place_that_cannot_be_written(judged: Judged, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_verdicts(judged, tmp_path)
    assert list(tmp_path.iterdir()) == []

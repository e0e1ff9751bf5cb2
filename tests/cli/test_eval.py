import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.cli import main


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    rows = [
        {
            "id": "a",
            "answer": ["melanoma", "halo nevus"],
            "diagnosis": "malignant melanoma",
            "skin_tone": "2",
        },
        {"id": "b", "answer": "1. Eczema\n2. Plaque psoriasis", "diagnosis": "psoriasis", "group": "p"},
        {"id": "c", "answer": "the itchy thing", "diagnosis": "scabies", "confidence": 0.4},
        {"id": "d", "answer": "acne", "diagnosis": "acnee"},
        {"id": "e", "answer": "acne"},
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_command(answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    ran = subprocess.run(
        [sys.executable, "-m", "skinflow_plugins.cli", "eval", str(answers), "-o", str(out),
         "--bootstrap", "50"],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "3 of 5 rows scored; 1 left out: label not in the taxonomy; 1 left out: no label" in ran.stdout
    assert (
        "the most frequent unmatched: itchy thing the (1)" in ran.stdout
        or "the itchy thing (1)" in ran.stdout
    )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["figures"]["top_k.synonym@1"]["value"] == pytest.approx(1 / 3)
    assert report["figures"]["top_k.strict@1"]["value"] == 0.0
    assert report["figures"]["top_k.synonym@2"]["value"] == pytest.approx(2 / 3)
    read = report["input"]
    assert (read["file"], read["format"], len(read["sha256"])) == ("answers.jsonl", "jsonl", 64)
    assert read["scored"] + sum(read["left_out"].values()) == read["rows"] == 5
    assert "numpy" in report["versions"]["packages"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "not clinically validated" in page.lower()
    assert str(tmp_path) not in page
    assert "not clinically validated" in (out / "model_card.md").read_text(encoding="utf-8").lower()


def test_a_report_is_not_written_over(answers: Path, tmp_path: Path, skinflow: Callable[..., Any]) -> None:
    out = tmp_path / "report"
    assert skinflow("eval", answers, "-o", out, "--bootstrap", "0").code == 0
    again = skinflow("eval", answers, "-o", out, "--bootstrap", "0")
    assert again.code == 2
    assert "--force" in again.err
    assert skinflow("eval", answers, "-o", out, "--bootstrap", "0", "--force").code == 0


def test_what_is_wrong_is_said(answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    twice = tmp_path / "twice.jsonl"
    twice.write_text(answers.read_text(encoding="utf-8") * 2, encoding="utf-8")
    out = str(tmp_path / "r")
    for arguments, words in (
        ([str(tmp_path / "none.jsonl")], "none.jsonl"),
        ([str(empty)], "empty"),
        ([str(twice)], "'a'"),
        ([str(answers), "-t", "fitzpatrick"], "did you mean 'fitzpatrick17k'"),
        ([str(answers), "--column", "diagnosis"], "expected OURS=THEIRS"),
        ([str(answers), "--top-k", "0"], "top_k"),
        ([str(answers), "-o", str(answers)], "is a file"),
    ):
        assert main(["eval", "-o", out, *arguments]) == 2
        assert words in capsys.readouterr().err
        assert not Path(out).exists()


def test_a_taxonomy_with_mistakes(answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "mine.yaml"
    table.write_text(
        "version: '1'\nconcepts:\n"
        "  - {name: a, id: a, parent: c}\n  - {name: b, id: b, parent: a}\n  - {name: c, id: c, parent: b}\n"
        "  - {name: d, parent: nobody}\n  - {name: e, parent: a, parent: b}\n",
        encoding="utf-8",
    )
    assert main(["eval", str(answers), "-t", str(table), "-o", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert f"{table}:6: 'd' has the unknown parent 'nobody'" in said
    assert f"{table}:7: a concept has the key 'parent' twice" in said
    table.write_text(
        "version: '1'\nconcepts:\n"
        "  - {name: a, id: a, parent: c, aliases: [same]}\n  - {name: b, id: b, parent: a}\n"
        "  - {name: c, id: c, parent: b}\n",
        encoding="utf-8",
    )
    assert main(["eval", str(answers), "-t", str(table), "-o", str(tmp_path / "r")]) == 2
    assert "parents run in a circle" in capsys.readouterr().err


@pytest.fixture
def judge(chat_server: Callable[..., str]) -> str:
    """A judge to whom the first item of a list is right, and every other a danger."""

    def say(request: dict[str, Any]) -> str:
        found = re.search(r"each of the (\d+) listed", request["messages"][-1]["content"])
        assert found is not None
        words = ["correct", *["critical"] * (int(found[1]) - 1)]
        return json.dumps({"verdicts": [{"item": n, "verdict": word} for n, word in enumerate(words, 1)]})

    return chat_server(say)


def test_a_judge(answers: Path, tmp_path: Path, judge: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "judged"
    arguments = ["eval", str(answers), "--bootstrap", "0", "-o"]
    assert main([*arguments, str(out), "--judge", judge, "--judge-runs", "3"]) == 0
    said = capsys.readouterr().out
    assert "majority of 3 runs" in said
    assert "Cohen's kappa" in said
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    # What the judge calls correct is the disease; strict names stay with the matcher.
    assert report["figures"]["top_k.synonym@1"]["value"] == 1.0
    assert report["figures"]["top_k.synonym@1"]["n"] == 3
    assert report["figures"]["top_k.strict@1"]["value"] == 0.0
    assert report["figures"]["rubric.correct@1"]["value"] == 1.0
    assert "judge judge, majority of 3 runs" in report["options"]["judged_by"]
    assert judge not in json.dumps(report)
    # The verdicts repeat the evaluation without a call.
    again = tmp_path / "again"
    assert main([*arguments, str(again), "--verdicts", str(out / "verdicts.jsonl")]) == 0
    repeated = json.loads((again / "report.json").read_text(encoding="utf-8"))
    assert repeated["figures"] == report["figures"]


def test_a_judge_that_nobody_reaches(
    answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "judged"
    arguments = ["eval", str(answers), "-o", str(out), "--bootstrap", "0", "--judge", "http://127.0.0.1:9/v1"]
    assert main([*arguments, "--judge-runs", "1"]) == 1
    assert "judge" in capsys.readouterr().err
    assert (out / "judge_failures.jsonl").is_file()
    assert not (out / "report.json").exists()

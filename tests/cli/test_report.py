import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.cli import main

RECIPE = {
    "name": "little",
    "model": {"base": "tiny:qwen3_vl"},
    "taxonomy": "demo",
    "stages": [{"name": "caption", "kind": "grpo"}, {"name": "diagnosis", "kind": "grpo"}],
    "tasks": {},
    "eval": {"split": "test", "top_k": 3},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "little"
    for folder in ("data", "predictions", "stages/1-caption", "stages/2-diagnosis"):
        (root / folder).mkdir(parents=True)
    (root / "run.json").write_text(json.dumps({"digest": "0", "recipe": RECIPE}), encoding="utf-8")
    names = ["melanoma", "psoriasis", "halo nevus", "melanoma"]
    said = ["melanoma; psoriasis", "halo nevus; psoriasis", "halo nevus\u2028", "basal cell carcinoma"]
    questions = [
        {"id": f"r{i}", "task": "diagnosis", "images": ["x.png"],
         "sample": json.dumps({"id": f"r{i}", "diagnosis": name})} for i, name in enumerate(names)
    ]  # fmt: skip
    write(root / "data/eval-diagnosis-test.jsonl", questions)
    write(root / "predictions/2-diagnosis-diagnosis-test.jsonl", [{"response": text} for text in said])
    return root


def write(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_of_a_run(run: Path, skinflow: Callable[..., Any]) -> None:
    done = skinflow("report", run, "--bootstrap", "20")
    assert done.code == 0
    assert "4 of 4 rows scored" in done.out
    report = json.loads((run / "report/report.json").read_text(encoding="utf-8"))
    assert report["name"] == "little, after stage 2-diagnosis"
    assert report["figures"]["top_k.synonym@1"]["value"] == 0.5
    assert report["figures"]["top_k.synonym@2"]["value"] == 0.75
    assert (run / "report/report.html").is_file()


def test_of_a_run_without_answers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "predictions/2-diagnosis-diagnosis-test.jsonl").write_text(
        '{"response": "half"}\n', encoding="utf-8"
    )
    assert main(["report", str(run)]) == 0
    assert "the curves only" in capsys.readouterr().out
    assert (run / "report/report.html").is_file()
    assert not (run / "report/report.json").exists()


def test_of_an_evaluation(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--bootstrap", "0", "-o", str(tmp_path / "one")]) == 0
    assert main(["report", str(tmp_path / "one"), "-o", str(tmp_path / "two")]) == 0
    assert "little" in (tmp_path / "two/report.html").read_text(encoding="utf-8")
    assert (tmp_path / "one/report.json").read_bytes() == (tmp_path / "two/report.json").read_bytes()


def test_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "neither run.json nor report.json" in capsys.readouterr().err
    (tmp_path / "report.json").write_text("[]", encoding="utf-8")
    assert main(["report", str(tmp_path)]) == 2
    assert "no report of ours" in capsys.readouterr().err


def test_another_report_is_not_written_over(run: Path, tmp_path: Path, skinflow: Callable[..., Any]) -> None:
    out = tmp_path / "out"
    assert skinflow("report", run, "--bootstrap", "0", "-o", out).code == 0
    again = skinflow("report", run, "--bootstrap", "0", "-o", out)
    assert again.code == 2
    assert "--force" in again.err
    # A broken answers file leaves the curves, and no figures of before.
    (run / "predictions/2-diagnosis-diagnosis-test.jsonl").write_text('{"response": "half', encoding="utf-8")
    assert skinflow("report", run, "-o", out, "--force").code == 0
    assert not (out / "report.json").exists()

"""Runs that finished, were killed, or lost files, told as far as they go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from skinflow_plugins.errors import InputError
from skinflow_plugins.report.curves import (
    Curve,
    Lines,
    evaluation_curves,
    logged_curves,
    reward_curves,
    thinned,
)
from skinflow_plugins.report.run_story import read_run

WriteRun = Callable[..., Path]


def test_a_finished_run(tmp_path: Path, write_run: WriteRun) -> None:
    run = read_run(write_run(tmp_path / "run"))
    assert run.missing == ()
    assert run.finished
    assert (run.name, run.base) == ("skinflow_qwen2_5_vl_7b", "Qwen/Qwen2.5-VL-7B-Instruct")
    assert [stage.name for stage in run.stages] == ["warmup", "caption", "diagnosis"]
    warmup, caption, diagnosis = run.stages
    assert warmup.rewards == ()
    assert warmup.rewards_asked == ()
    assert [curve.name for curve in warmup.logged] == ["loss", "token_acc"]
    assert [curve.name for curve in caption.rewards] == [
        "caption.caption_fields",
        "caption.format",
        "weighted total",
    ]
    assert caption.completions == 320
    assert caption.length is not None
    assert caption.length_unit == "tokens"
    assert all(
        low < mean < high
        for low, mean, high in zip(
            caption.length.low, caption.length.values, caption.length.high, strict=True
        )
    )
    assert caption.gate is not None
    assert caption.gate.passed
    assert diagnosis.gate is not None
    assert not diagnosis.gate.passed
    assert diagnosis.last_step == 300
    assert {curve.name for curve in diagnosis.evaluations} >= {"top_k.strict@1", "balanced.top1"}
    assert diagnosis.evaluations[0].steps == (50, 100, 150, 200, 250, 300)


def test_the_mean_of_each_step_is_that_of_its_lines(tmp_path: Path, write_run: WriteRun) -> None:
    root = write_run(tmp_path / "run")
    lines = [json.loads(line) for line in (root / "stages/2-caption/rewards.jsonl").read_text().splitlines()]
    expected = [line["rewards"]["caption.format"] for line in lines if line["step"] == 7]
    curve = read_run(root).stages[1].rewards[1]
    assert curve.values[curve.steps.index(7)] == pytest.approx(sum(expected) / len(expected))


def test_a_killed_run_says_what_is_missing(tmp_path: Path, write_run: WriteRun) -> None:
    run = read_run(write_run(tmp_path / "run", killed=True))
    assert not run.finished
    assert run.missing == (
        "results.json is missing: no stage came as far as its evaluation",
        "not finished: stage diagnosis",
    )
    last = run.stages[-1]
    assert not last.finished
    assert last.missing == (
        "rewards.jsonl is not written yet: read from the parts of the processes instead",
        "1 line is broken in rewards.rank0.jsonl and left out",
    )
    assert last.completions == 2_400
    assert len(last.rewards) == 3


def test_a_run_that_lost_its_files(tmp_path: Path, write_run: WriteRun) -> None:
    root = write_run(tmp_path / "run")
    (root / "environment.json").unlink()
    (root / "results.json").write_text('{"rows": [')
    (root / "stages/2-caption/logging.jsonl").unlink()
    (root / "stages/2-caption/rewards.jsonl").unlink()
    (root / "stages/3-diagnosis").rename(tmp_path / "elsewhere")
    run = read_run(root)
    assert [line.partition(":")[0] for line in run.missing] == [
        "environment.json is missing",
        "results.json is missing",
        "not finished",
    ]
    assert run.stages[1].missing == (
        "there is no log of rewards",
        "logging.jsonl is missing: loss and KL are not known",
    )
    assert run.stages[2].missing == ("the stage was not begun: it has no folder",)


def test_the_length_comes_from_the_completions_where_it_was_not_logged(
    tmp_path: Path, write_run: WriteRun
) -> None:
    root = write_run(tmp_path / "run")
    (root / "stages/2-caption/logging.jsonl").unlink()
    stage = read_run(root).stages[1]
    assert stage.length_unit == "letters"
    assert stage.length is not None
    assert len(stage.length.steps) == 40


@pytest.mark.parametrize("content", [None, "{", "[]", '{"recipe": 3}'])
def test_a_folder_without_a_run(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"holds no run: there is no run\.json of ours"):
        read_run(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        read_run(tmp_path / "nowhere")


def test_strange_recipes_are_told_too(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"recipe": {"model": "x", "stages": [{"rewards": "none"}, 7]}}')
    run = read_run(tmp_path)
    assert run.base == ""
    assert [stage.name for stage in run.stages] == ["1"]


def lines(tmp_path: Path, *rows: object) -> Lines:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return Lines([path])


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    log = lines(
        tmp_path, {"step": 1, "rewards": {"a": 1.0}}, "\n", "[1]\n", "nonsense\n", {"rewards": {}}, '{"st'
    )
    curves, letters, count = reward_curves(log)
    assert (len(curves), letters, count) == (1, None, 1)
    assert log.broken == 4


def test_what_is_no_finite_number_is_left_out(tmp_path: Path) -> None:
    log = lines(
        tmp_path, '{"step": 1, "rewards": {"a": NaN, "b": 2, "c": null, "d": true}, "total": Infinity}\n'
    )
    curves, _, _ = reward_curves(log)
    assert [(curve.name, curve.values) for curve in curves] == [("b", (2.0,))]


def test_the_end_of_swifts_log_is_no_step(tmp_path: Path) -> None:
    rows = [
        {"loss": 2.0, "global_step/max_steps": "1/2"},
        {"loss": 1.0, "global_step/max_steps": "2/2"},
        {"loss": 9.0, "train_runtime": 3, "global_step/max_steps": "2/2"},
        {"log_history": []},
    ]
    assert logged_curves(lines(tmp_path, *rows))["loss"] == Curve("loss", (1, 2), (2.0, 1.0))


def test_evaluations_in_both_forms(tmp_path: Path) -> None:
    found = evaluation_curves(
        lines(
            tmp_path,
            {"step": 2, "figures": {"a": {"value": 0.5, "low": 0.4, "high": 0.6}}},
            {"step": 1, "figures": {"a": {"value": 0.2, "low": 0.1, "high": 0.3}}},
            {"step": 1, "b": 0.7, "note": "words", "seconds": 3},
        )
    )
    assert found["a"] == Curve("a", (1, 2), (0.2, 0.5), (0.1, 0.4), (0.3, 0.6))
    assert found["b"] == Curve("b", (1,), (0.7,))
    assert set(found) == {"a", "b"}


def test_thinning_keeps_the_mean_and_the_last_step() -> None:
    curve = Curve("a", tuple(range(1, 1001)), tuple(float(n) for n in range(1000)))
    thin = thinned(curve, 100)
    assert len(thin.steps) == 100
    assert thin.steps[-1] == 1000
    assert thin.values[0] == pytest.approx(4.5)
    assert thinned(curve, 1000) is curve

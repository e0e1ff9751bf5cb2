"""`skinflow run`: once through real training, and what is shown around it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.results import Row
from skinflow_plugins.cli import table
from skinflow_plugins.cli.quiet import Repetition
from skinflow_plugins.cli.recipe_arguments import read_recipe
from skinflow_plugins.cli.run import contents
from skinflow_plugins.errors import WorkFailed

ROWS = [
    Row("after warmup", 40, {"diagnosis_top1": 0.25, "distinct_first_answers": 6.0}),
    Row("after diagnosis", 40, {"diagnosis_top1": 0.625, "distinct_first_answers": 5.0}),
    Row("best constant answer", 40, {"diagnosis_top1": 0.175, "distinct_first_answers": 1.0}),
    Row("after diagnosis, permuted images", 40, {"diagnosis_top1": 0.15, "distinct_first_answers": 5.0}),
]


@pytest.mark.slow
def test_a_run_trains_and_goes_on(skinflow: Callable[..., Any]) -> None:
    typed = ["stages.caption=null", "stages.diagnosis=null", "eval.permuted=false", "eval.max_new_tokens=4"]
    typed += ["data.train=16", "data.validation=4", "data.test=4", "stages.warmup.swift.max_steps=2"]
    typed += ["stages.warmup.swift.save_steps=2", "stages.warmup.swift.per_device_train_batch_size=4"]
    # what is left has no use for them
    typed += ["swift.num_generations=null", "swift.max_completion_length=null"]
    done = skinflow("run", "quickstart", "name=mini", *typed)
    assert done.code == 0, done.err
    assert done.out.startswith("recipe mini, run folder runs/mini\n")
    assert "==> stage 1 of 1: warmup (swift sft)" in done.out
    assert "| after warmup | 4 |" in done.out
    assert "runs/mini/results.md and results.json: " in done.out
    assert Path("runs/mini/stages/1-warmup/final/config.json").is_file()
    assert "WARNING:swift" not in done.err
    assert "Train: 100%" in done.err

    again = skinflow("run", "quickstart", "name=mini", *typed)
    assert again.code == 0, again.err
    assert "==> stage 1-warmup is finished already" in again.out
    assert again.out[again.out.index("| |") :] == done.out[done.out.index("| |") :]


def test_a_best_checkpoint_is_named_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "stages/1-warmup").mkdir(parents=True)
    assert f"{tmp_path}/stages/*/final: the checkpoints; " in contents(tmp_path)[2]
    (tmp_path / "stages/1-warmup/best").mkdir()
    assert "the checkpoints, and best beside it where a stage chose one; " in contents(tmp_path)[2]


def test_the_default_folder_and_another_one(
    skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    roots: list[Path] = []
    monkeypatch.setattr(
        "skinflow_plugins.bridge.run.run", lambda _1, _2, root, _3: roots.append(root) or ROWS
    )
    assert skinflow("run", "quickstart").code == 0
    assert skinflow("run", "quickstart", "-o", "elsewhere", "seed=1").code == 0
    assert roots == [Path("runs/quickstart"), Path("elsewhere")]


def test_the_table_and_what_its_rows_mean(
    skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skinflow_plugins.bridge.run.run", lambda *_: ROWS)
    done = skinflow("run", "quickstart")
    assert "| after diagnosis | 40 | 0.625 | 5 |" in done.out
    for kind in (
        "After an sft stage: ",
        "After a grpo stage: ",
        "Best constant answer: ",
        "Permuted images: ",
    ):
        assert done.out.count(kind) == 1


def test_a_terminal_gets_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    table.show_results(read_recipe("quickstart")[0].recipe, ROWS)
    shown = capsys.readouterr().out
    assert all(
        text in shown for text in ("after diagnosis, permuted images", "0.625", "0.175", "diagnosis top1")
    )


def test_a_failure_inside_swift_points_to_verbose(
    skinflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: Any) -> None:
        try:
            raise ValueError("no such thing")
        except ValueError as error:
            raise WorkFailed("stage 1-warmup: swift sft failed: ValueError: no such thing") from error

    monkeypatch.setattr("skinflow_plugins.bridge.run.run", run)
    done = skinflow("run", "quickstart")
    assert done.code == 1
    assert done.err == (
        "skinflow: stage 1-warmup: swift sft failed: ValueError: no such thing\n"
        "    `--verbose` shows where in the code\n"
    )
    assert "Traceback" in skinflow("run", "quickstart", "--verbose").err


def test_swifts_warnings_come_once_and_those_about_our_own_models_not_at_all(tmp_path: Path) -> None:
    only = Repetition(tmp_path)

    def passes(text: str, level: int = logging.WARNING) -> bool:
        return only.filter(logging.LogRecord("swift", level, "", 0, text, None, None))

    foreign = "Loading model from 'org/model' with trust_remote_code=True."
    assert [passes(foreign), passes(foreign)] == [True, False]
    assert not passes(f"Loading model from '{tmp_path}/base' with trust_remote_code=True.")
    assert [passes("broken", logging.ERROR) for _ in range(2)] == [True, True]

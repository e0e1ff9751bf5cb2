"""Evaluation in training: real answers of the model that trains, figures to check, and no trace left."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinflow_plugins.bridge.evaluating import record
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.recipe.plan import Plan, StagePlan

WATCHED = (
    "stages.caption=null",
    "stages.diagnosis.replay=null",
    "stages.warmup.swift={max_steps: 32, save_steps: 8}",
    "eval.permuted=false",
)
"""The tiny recipe with a warm-up and one stage of GRPO."""
EVALUATE = (
    "stages.warmup.evaluate={every: 16, limit: 5, best: unparsed_share, use_best: true}",
    "stages.diagnosis.evaluate={every: 3, best: diagnosis_top1}",
    "stages.diagnosis.swift.save_total_limit=2",
)
CLOCK = ("elapsed_time", "remaining_time", "train_speed(s/it)", "memory(GiB)", "step_time")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def steps(folder: Path) -> list[dict[str, Any]]:
    """What swift logged of each step, without its clock."""
    rows = [row for row in lines(folder / "logging.jsonl") if "grad_norm" in row]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


def weights(checkpoint: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {
        f"{file.name} {name}": value
        for file in sorted(checkpoint.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours
    assert ours.keys() == theirs.keys()
    assert all(value.equal(theirs[name]) for name, value in ours.items())


def prepared(read: Callable[..., Any], root: Path, *overrides: str) -> Plan:
    from skinflow_plugins.bridge.run import prepare_run

    root.mkdir()
    return prepare_run(*read(*overrides), root, lambda _: None)[0]


def trained(plan: Plan, stage: StagePlan, *more: str) -> Path:
    """A stage, trained inside this process."""
    from skinflow_plugins.bridge.launch import launch
    from skinflow_plugins.bridge.swift_yaml import arguments_of

    argv = [*arguments_of(stage), *more]
    launch(plan.recipe.launch, stage.command, argv, stage.environment, what=stage.slug)
    return Path(plan.folder(stage))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, read: Callable[..., Any], swift: None) -> Any:
    """A run with an evaluation in both of its stages."""
    from skinflow_plugins.bridge.run import run

    root = tmp_path_factory.mktemp("watched") / "run"
    said: list[str] = []
    rows = run(*read(*WATCHED, *EVALUATE), root, said.append)
    return SimpleNamespace(root=root, said=said, rows=rows)


# --- what is asked, logged and kept -----------------------------------------------------------------------


@pytest.mark.slow
def test_steps_and_records(watched: Any) -> None:
    warmup, diagnosis = (watched.root / "stages" / slug for slug in ("1-warmup", "2-diagnosis"))
    assert [(row["step"], row["records"]) for row in lines(warmup / record.LOG)] == [(16, 5), (32, 5)]
    # The last step is evaluated too
    assert [(row["step"], row["records"]) for row in lines(diagnosis / record.LOG)] == [
        (3, 12),
        (6, 12),
        (8, 12),
    ]
    assert sorted(path.name for path in (warmup / record.ANSWERS).iterdir()) == [
        *("caption-16.jsonl", "caption-32.jsonl", "diagnosis-16.jsonl", "diagnosis-32.jsonl")
    ]
    kept = {row["id"] for row in lines(warmup / record.ANSWERS / "caption-16.jsonl")}
    assert {name.partition("-")[0] for name in kept} == {"validation"}  # never the test split
    questions = lines(watched.root / "data" / "2-diagnosis-evaluate-diagnosis.jsonl")
    assert [row["id"] for row in questions] == [
        row["id"] for row in lines(watched.root / "data" / "eval-diagnosis-validation.jsonl")
    ]


@pytest.mark.slow
def test_figures_are_those_of_the_kept_answers(watched: Any, read: Callable[..., Any]) -> None:
    from skinflow_plugins.bridge.results import metric_value
    from skinflow_plugins.diagnosis.evaluation import clinical_figures
    from skinflow_plugins.diagnosis.load import load_taxonomy

    loaded, known = read(*WATCHED, *EVALUATE)
    for slug, tasks in (("1-warmup", ["caption", "diagnosis"]), ("2-diagnosis", ["diagnosis"])):
        folder = watched.root / "stages" / slug
        logged = [row for row in lines(folder / "logging.jsonl") if "loss" not in row]
        logged = [row for row in logged if any(key.startswith("eval_clinical/") for key in row)]
        for row, log in zip(lines(folder / record.LOG), logged, strict=True):
            assert log["global_step/max_steps"].partition("/")[0] == str(row["step"])
            names = set()
            for task in tasks:
                answers = record.answers_file(folder, task, row["step"])
                predictions = [Prediction(**each) for each in lines(answers)]
                if task == "diagnosis":
                    for name, value in clinical_figures(predictions, load_taxonomy("demo"), top_k=3).items():
                        assert row["figures"][name] == value
                        names.add(name)
                for name, entry in known.table("metrics").items():
                    if (entry.value.task == "caption") == (task == "caption"):
                        value = metric_value(loaded.recipe, known, name, predictions)
                        assert row["figures"][name] == value
                        assert log[f"eval_clinical/{name}"] == pytest.approx(value, abs=1e-8)
                        names.add(name)
            assert names == row["figures"].keys()
            assert {f"eval_clinical/{n}" for n, v in row["figures"].items() if v is not None} == {
                key for key in log if key.startswith("eval_clinical/")
            }


@pytest.mark.slow
def test_answers_are_those_that_the_checkpoint_gives_afterwards(watched: Any) -> None:
    """The gate asks the same questions of the same checkpoint, through `swift infer`."""
    folder = watched.root / "stages" / "2-diagnosis"
    asked = lines(watched.root / "predictions" / "2-diagnosis-diagnosis-validation.jsonl")
    kept = lines(record.answers_file(folder, "diagnosis", 8))
    assert [row["answer"] for row in kept] == [row["response"] for row in asked]
    assert len({row["answer"] for row in kept} - {""}) >= 1


# --- the training does not notice -------------------------------------------------------------------------


@pytest.mark.slow
def test_an_sft_stage_takes_the_same_steps(watched: Any, read: Callable[..., Any], tmp_path: Path) -> None:
    plan = prepared(read, tmp_path / "run", *WATCHED)
    plain = trained(plan, plan.stages[0])
    ours = watched.root / "stages" / "1-warmup"
    assert len(steps(plain)) == 32
    assert steps(ours) == steps(plain)
    for name in ("checkpoint-16", "checkpoint-32"):
        assert_same_weights(ours / name, plain / name)
        # Placeholders are kept out of the answers without a trace in what is saved
        assert (ours / name / "generation_config.json").read_text() == (
            plain / name / "generation_config.json"
        ).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["tuner: full", "tuner: lora, encoder: frozen"])
def test_a_grpo_stage_takes_the_same_steps(lab: Any, tuning: str) -> None:
    """With the dynamic encoder, with dropout, and with a KL reference."""
    overrides = (f"tuning={{{tuning}}}", "swift.lora_dropout=0.1")
    plain = lab.train(*overrides, start="random")
    ours = lab.train(*overrides, "stages.first.evaluate={every: 1}", start="random")
    assert [row["step"] for row in lines(ours.folder / record.LOG)] == [1, 2, 3, 4]
    assert len(steps(plain.folder)) == 4
    assert any(row["kl"] > 0 for row in steps(plain.folder))
    assert steps(ours.folder) == steps(plain.folder)
    assert (ours.folder / "rewards.jsonl").read_bytes() == (plain.folder / "rewards.jsonl").read_bytes()
    assert_same_weights(ours.checkpoint(4), plain.checkpoint(4))
    assert not (ours.folder / "best").exists()  # none was asked for


@pytest.mark.slow
def test_the_dynamic_encoder_under_sft(lab: Any, tmp_path: Path) -> None:
    from skinflow_plugins.bridge.predict import predict

    records = "data.validation=5"
    trained = lab.run(lab.plan(records, "stages.taught.evaluate={every: 2}"), "taught")
    folder = trained.folder
    assert [row["step"] for row in lines(folder / record.LOG)] == [2, 4]
    assert steps(folder) == steps(lab.run(lab.plan(records), "taught").folder)
    # An untrained model answers each image otherwise, so that their order shows
    kept = [row["answer"] for row in lines(record.answers_file(folder, "caption", 4))]
    (questions,) = map(Path, trained.stage.evaluation.questions.values())
    after = predict(trained.plan, trained.stage, questions, tmp_path / "answers.jsonl")
    assert kept == [prediction.answer for prediction in after]
    assert len(set(kept)) > 1


# --- the best checkpoint ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_best_checkpoint_is_linked_kept_and_handed_over(watched: Any) -> None:
    warmup, diagnosis = (watched.root / "stages" / slug for slug in ("1-warmup", "2-diagnosis"))
    for folder, name, better in ((warmup, "unparsed_share", min), (diagnosis, "diagnosis_top1", max)):
        rows = lines(folder / record.LOG)
        best = better(rows, key=lambda row: row["figures"][name])["step"]  # the earliest of equals
        assert os.readlink(folder / "best") == f"checkpoint-{best}"
        assert (folder / "best" / "model.safetensors").is_file()
        assert any(
            f"best checkpoint of stage {folder.name}: step {best}, {name}" in line for line in watched.said
        )
    assert os.readlink(diagnosis / "final") == "checkpoint-8"
    kept = {path.name for path in diagnosis.glob("checkpoint-*")}
    assert kept == {os.readlink(diagnosis / "best"), "checkpoint-8"} | (
        {"checkpoint-6"} if os.readlink(diagnosis / "best") == "checkpoint-8" else set()
    )
    # `use_best` in the warm-up: what follows, and its own answers, come from there
    arguments = json.loads((diagnosis / "args.json").read_text())
    assert arguments["model"] == str(warmup / "best")
    assert json.loads((warmup / "done.json").read_text())["hands_over"] == "best"
    assert json.loads((diagnosis / "done.json").read_text())["hands_over"] == "final"


# --- interruption -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_and_resumed_evaluations_are_those_of_an_undisturbed_run(
    watched: Any, read: Callable[..., Any], tiny: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    from skinflow_plugins.bridge.run import run

    root, log = tmp_path / "run", tmp_path / "log"
    process = start("run", tiny, "-o", root, *WATCHED, *EVALUATE, log=log)
    folder = root / "stages" / "2-diagnosis"
    end = time.monotonic() + 600
    # Evaluated and perhaps not saved yet: right behind the checkpoint of step 3
    while len(record.read(folder)) < 2:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "final").exists()
    with (folder / record.LOG).open("a") as file:
        file.write('{"step": 7, "records": 12, "figures": {}, "best": true}\n{"st')

    said: list[str] = []
    rows = run(*read(*WATCHED, *EVALUATE), root, said.append)
    assert any("stage 2-diagnosis goes on from checkpoint-" in line for line in said)
    assert rows == watched.rows
    for slug in ("1-warmup", "2-diagnosis"):
        ours, theirs = root / "stages" / slug, watched.root / "stages" / slug
        assert (ours / record.LOG).read_bytes() == (theirs / record.LOG).read_bytes()
        assert os.readlink(ours / "best") == os.readlink(theirs / "best")
        # Their samples name the folder of the run
        for kept in (theirs / record.ANSWERS).iterdir():
            answers = [
                [row["answer"] for row in lines(path)] for path in (kept, ours / record.ANSWERS / kept.name)
            ]
            assert answers[0] == answers[1]
        assert {path.name for path in (ours / record.ANSWERS).iterdir()} == {
            path.name for path in (theirs / record.ANSWERS).iterdir()
        }
        assert [row for row in logged(ours) if row] == [row for row in logged(theirs) if row]


def logged(folder: Path) -> list[dict[str, Any]]:
    rows = lines(folder / "logging.jsonl")
    return [{key: value for key, value in row.items() if key.startswith("eval_clinical/")} for row in rows]


# --- the metric of `swift sft` without a recipe -----------------------------------------------------------


@pytest.fixture
def without_recipe(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("SKINFLOW_STAGE", raising=False)
    monkeypatch.setenv("SKINFLOW_OPTIONS", '{"skinflow_diagnosis": {"taxonomy": "demo", "top_k": 2}}')
    return monkeypatch


@pytest.mark.slow
def test_the_metric_in_swift_sft(watched: Any, without_recipe: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`swift sft --external_plugins "$(skinflow plugin)" --eval_metric skinflow_diagnosis ...`"""
    from swift.pipelines import sft_main

    from skinflow_plugins.bridge.entry_path import plugin_path
    from skinflow_plugins.diagnosis.evaluation import clinical_figures
    from skinflow_plugins.diagnosis.load import load_taxonomy
    from skinflow_plugins.diagnosis.metrics import diagnosis_top1, diagnosis_top_k

    rows = lines(watched.root / "data" / "eval-diagnosis-validation.jsonl")
    data = tmp_path / "data.jsonl"
    with data.open("w") as file:
        for place, row in enumerate(rows):
            truth = json.loads(row["sample"])["diagnosis"]
            answer = f"{truth}; psoriasis" if place else "measles of the moon; psoriasis"
            messages = [*row["messages"], {"role": "assistant", "content": answer}]
            file.write(json.dumps({"messages": messages, "images": row["images"]}) + "\n")
    for name in [name for name in sys.modules if name.startswith("_swift_external_")]:
        without_recipe.delitem(sys.modules, name)  # swift reads a plug-in file once per process
    out = tmp_path / "out"
    sft_main(
        [
            *("--external_plugins", plugin_path(), "--eval_metric", "skinflow_diagnosis"),
            *("--predict_with_generate", "true", "--max_new_tokens", "16"),
            *("--dataset", str(data), "--val_dataset", str(data), "--split_dataset_ratio", "0"),
            *("--model", str((watched.root / "stages" / "1-warmup" / "final").resolve())),
            *("--model_type", "qwen2_5_vl", "--template", "qwen2_5_vl", "--tuner_type", "full"),
            *("--per_device_train_batch_size", "4", "--per_device_eval_batch_size", "4", "--max_steps", "2"),
            *("--learning_rate", "1e-3", "--logging_steps", "1", "--eval_steps", "1", "--save_steps", "1"),
            *("--output_dir", str(out), "--torch_dtype", "float32", "--fp16", "false", "--bf16", "false"),
            *("--use_hf", "true", "--check_model", "false", "--add_version", "false", "--report_to", "none"),
            *(
                "--dataset_num_proc",
                "1",
                "--dataloader_num_workers",
                "0",
                "--gradient_checkpointing",
                "false",
            ),
        ]
    )
    found = [row for row in lines(out / "logging.jsonl") if "eval_clinical/diagnosis_top1" in row]
    assert len(found) == 2
    for step, logs in enumerate(found, start=1):
        # swift's own record of what was generated
        answers = lines(out / f"checkpoint-{step}" / "predict.jsonl")
        assert len(answers) == len(rows)
        predictions = [
            Prediction("", "diagnosis", row["response"], {"diagnosis": row["labels"].partition(";")[0]})
            for row in answers
            if not row["labels"].startswith("measles")
        ]
        assert len(predictions) == len(rows) - 1
        for name, value in (
            ("diagnosis_top1", diagnosis_top1(predictions, taxonomy="demo")),
            ("diagnosis_top_k", diagnosis_top_k(predictions, k=2, taxonomy="demo")),
            *clinical_figures(predictions, load_taxonomy("demo"), top_k=2).items(),
        ):
            assert logs[f"eval_clinical/{name}"] == pytest.approx(value, abs=1e-8)
        assert logs["eval_clinical/unread_references"] == 1
    # swift's own default for generated answers, rouge-l, is no figure of ours
    last = json.loads((out / "checkpoint-2" / "trainer_state.json").read_text())
    reached = [row["eval_clinical/diagnosis_top1"] for row in found]
    assert last["best_metric"] == pytest.approx(max(reached), abs=1e-8)
    assert last["best_global_step"] == 1 + reached.index(max(reached))

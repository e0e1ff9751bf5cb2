"""The parts of an evaluation in training, without a training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skinflow_plugins.bridge import checkpoints, settings
from skinflow_plugins.bridge.evaluating import record
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.recipe.evaluation import EvaluationPlan, FigurePlan

EVALUATE = (
    "stages.warmup.evaluate={every: 16, limit: 5, best: unparsed_share, use_best: true}",
    "stages.diagnosis.evaluate={every: 3, best: diagnosis_top1}",
)
"""Evaluations for the first and the last stage of the tiny recipe."""


@pytest.mark.parametrize(
    ("rows", "processes", "batch"), [(5, 1, 2), (5, 2, 2), (7, 3, 2), (1, 4, 3), (8, 2, 9)]
)
def test_every_process_takes_an_equal_share(
    monkeypatch: pytest.MonkeyPatch, rows: int, processes: int, batch: int
) -> None:
    from torch import nn

    from skinflow_plugins.bridge.evaluating import answers

    asked: list[list[int]] = []

    def ask(trainer: Any, batches: Any, request: Any) -> list[str]:
        assert (request.max_tokens, request.temperature) == (9, 0)
        asked.append([len(each) for each in batches])
        return [f"answer {row['id']}" for each in batches for row in each]

    monkeypatch.setattr(answers, "_by_transformers", ask)
    shares: list[list[str]] = []

    def together(mine: list[str]) -> list[str]:
        shares.append(mine)
        return [answer for share in shares for answer in share]

    monkeypatch.setattr(answers, "gather_object", together)
    model = nn.Linear(1, 1)
    for process in range(processes):
        accelerator = SimpleNamespace(process_index=process, num_processes=processes)
        trainer = SimpleNamespace(
            model=model, model_wrapped=model, accelerator=accelerator, args=SimpleNamespace(use_vllm=False)
        )
        found = answers.greedy_answers(
            trainer, [{"id": row} for row in range(rows)], batch_size=batch, max_new_tokens=9
        )
    assert found == [f"answer {row}" for row in range(rows)]
    assert all(each == asked[0] for each in asked)
    assert max(asked[0]) <= batch


def test_vllm_is_asked_greedily_and_gets_the_weights_before_and_after() -> None:
    """Of swift's rollout, whose real answers are for the tests with vLLM."""
    from collections import defaultdict

    from swift.infer_engine import RequestConfig

    from skinflow_plugins.bridge.evaluating.answers import _by_vllm

    calls: list[Any] = []
    metrics: Any = {"train": defaultdict(list, {"kl": [1.0]}), "eval": defaultdict(list)}
    config = RequestConfig(temperature=1.0, logprobs=True)
    trainer = SimpleNamespace(_metrics=metrics, request_config=config, _last_loaded_step=7)

    def generate(samples: Any) -> Any:
        calls.append((trainer.request_config.temperature, trainer.request_config.max_tokens, samples))
        assert trainer._last_loaded_step == -1 or len(calls) > 1
        trainer._last_loaded_step = 8
        trainer._metrics["eval"]["rollout"].append(1.0)
        return [
            SimpleNamespace(messages=[*row["messages"], {"content": f"to {row['id']}"}]) for row in samples
        ]

    def to_samples(rows: Any) -> Any:
        assert rows[0]["images"] == [{"bytes": None, "path": "/a.png"}]
        return [{**row, "id": row["messages"][0]["content"]} for row in rows]

    trainer._generate_completions, trainer.to_samples = generate, to_samples
    rows = [{"messages": [{"role": "user", "content": name}], "images": ["/a.png"]} for name in "abc"]
    found = _by_vllm(trainer, [rows[:2], rows[2:]], RequestConfig(temperature=0, max_tokens=5))
    assert found == ["to a", "to b", "to c"]
    assert [call[:2] for call in calls] == [(0, 5), (0, 5)]
    assert trainer._metrics is metrics
    assert metrics["eval"] == {}
    assert trainer.request_config is config
    assert trainer._last_loaded_step == -1


def test_modes_and_random_states_are_put_back() -> None:
    import random

    import numpy
    import torch
    from torch import nn

    from skinflow_plugins.bridge.evaluating.undisturbed import undisturbed

    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    model[1][0].eval()
    trainer = SimpleNamespace(model=model, model_wrapped=model)

    def draws() -> list[float]:
        return [random.random(), float(numpy.random.rand()), float(torch.rand(()))]

    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(3)
    expected = draws()
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(3)

    def disturb() -> None:
        with undisturbed(trainer):
            assert not any(module.training for module in model.modules())
            draws()
            raise KeyError

    with pytest.raises(KeyError):
        disturb()
    assert draws() == expected
    assert [module.training for module in model.modules()] == [True, True, True, False, True]


def an_evaluation(folder: Path, step: int, value: float, best: bool | None) -> None:
    prediction = Prediction("a", "diagnosis", "psoriasis", {"id": "a"})
    record.add(folder, step, {"diagnosis": [prediction]}, {"figure": value}, best)


def a_checkpoint(folder: Path, step: int) -> None:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 9}))


def test_the_link_follows_what_is_saved(tmp_path: Path) -> None:
    assert checkpoints.link_best(tmp_path) is None
    an_evaluation(tmp_path, 3, 0.1, best=True)
    assert checkpoints.link_best(tmp_path) is None  # evaluated, and not saved yet
    a_checkpoint(tmp_path, 3)
    checkpoints.link_best(tmp_path)
    assert os.readlink(tmp_path / "best") == "checkpoint-3"
    an_evaluation(tmp_path, 6, 0.2, best=True)
    checkpoints.link_best(tmp_path)
    assert os.readlink(tmp_path / "best") == "checkpoint-3"  # killed here, it stays so
    a_checkpoint(tmp_path, 6)
    an_evaluation(tmp_path, 9, 0.2, best=False)
    a_checkpoint(tmp_path, 9)
    checkpoints.close(tmp_path, 9)
    assert os.readlink(tmp_path / "best") == "checkpoint-6"
    assert os.readlink(tmp_path / "final") == "checkpoint-9"
    record.drop_after(tmp_path, 0)
    assert checkpoints.link_best(tmp_path) is None
    assert not (tmp_path / "best").is_symlink()


def test_evaluations_of_later_steps_are_dropped(tmp_path: Path) -> None:
    for step in (10, 9, 100):  # by number, not by letter
        an_evaluation(tmp_path, step, float("nan") if step == 100 else 0.5, best=None)
    assert [row["step"] for row in record.read(tmp_path)] == [9, 100]
    assert record.read(tmp_path)[1] == {"step": 100, "records": 1, "figures": {"figure": None}}
    with (tmp_path / record.LOG).open("a") as file:
        file.write('{"step": 110, "rec')  # killed here
    assert [row["step"] for row in record.read(tmp_path)] == [9, 100]
    record.drop_after(tmp_path, 10)
    assert [row["step"] for row in record.read(tmp_path)] == [9]
    names = sorted(path.name for path in (tmp_path / record.ANSWERS).iterdir())
    assert names == ["diagnosis-10.jsonl", "diagnosis-9.jsonl"]
    record.drop_after(tmp_path / "nowhere", 0)


def a_plan(**changes: Any) -> EvaluationPlan:
    figure = FigurePlan("diagnosis_top1", "diagnosis_top1", "diagnosis", {"taxonomy": "demo"})
    plan = EvaluationPlan(3, {}, (figure,), (), "demo", 3, 4, 8)
    return replace(plan, **changes)


def evaluator(tmp_path: Path, value: float, *, lower: bool = False, best: str | None = "figure") -> Any:
    """An evaluator whose model always reaches this value."""
    from skinflow_plugins.bridge.evaluating.evaluator import Evaluator

    found = object.__new__(Evaluator)
    found.plan = replace(a_plan(), every=3, best=best, lower=lower)
    found.folder = tmp_path
    return found, {"figure": value}


@pytest.mark.parametrize(
    ("before", "value", "lower", "expected"),
    [
        (None, 0.0, False, True),
        (0.5, 0.5, False, False),
        (0.5, 0.6, False, True),
        (0.5, 0.6, True, False),
        (0.5, 0.4, True, True),
        (None, float("nan"), False, False),
        (0.5, float("nan"), True, False),
    ],
)
def test_which_step_is_better(
    tmp_path: Path, before: float | None, value: float, lower: bool, expected: bool
) -> None:
    found, figures = evaluator(tmp_path, value, lower=lower)
    assert found._is_best(SimpleNamespace(best_metric=before), figures) is expected


def test_which_steps_are_due(tmp_path: Path) -> None:
    found, _ = evaluator(tmp_path, 0.0)
    due = [step for step in range(1, 9) if found.is_due(SimpleNamespace(global_step=step, max_steps=8))]
    assert due == [3, 6, 8]


def test_a_resumed_trainer_knows_the_best_again(tmp_path: Path) -> None:
    found, _ = evaluator(tmp_path, 0.0)
    for step, value in ((3, 0.4), (6, 0.3)):
        an_evaluation(tmp_path, step, value, best=step == 3)
        a_checkpoint(tmp_path, step)
    # A folder that was moved: the old path stands in the trainer's own state
    state = SimpleNamespace(best_metric=9, best_global_step=9, best_model_checkpoint="/old/checkpoint-3")
    state.is_world_process_zero = True
    found.begin(state)
    assert (state.best_metric, state.best_global_step) == (0.4, 3)
    assert state.best_model_checkpoint == str(tmp_path / "checkpoint-3")
    assert os.readlink(tmp_path / "best") == "checkpoint-3"


def test_records_are_drawn_once_and_keep_their_order(read: Callable[..., Any]) -> None:
    from skinflow_plugins.bridge.stage_rows import evaluated
    from skinflow_plugins.data.record import Record

    records = [
        Record(f"{split}-{n:02}", "/a.png", split) for n in range(40) for split in ("test", "validation")
    ]
    overrides = ("stages.caption.evaluate={every: 1, limit: 8}", "stages.diagnosis.evaluate={every: 1}")
    recipe = read(*overrides)[0].recipe
    _, caption, diagnosis = recipe.stages
    some, every = ([r.id for r in evaluated(recipe, s, records)] for s in (caption, diagnosis))
    assert every == [f"validation-{n:02}" for n in range(40)]
    assert len(set(some)) == 8
    assert some == sorted(some)
    assert some != every[:8]  # a source may be sorted by diagnosis
    assert some == [r.id for r in evaluated(recipe, replace(diagnosis, evaluate=caption.evaluate), records)]


@pytest.mark.slow
def test_no_validation_records(read: Callable[..., Any], tmp_path: Path) -> None:
    from skinflow_plugins.bridge.prepare import read_records

    loaded, known = read(
        "stages.caption.gate=null",
        "stages.diagnosis.gate=null",
        "stages.diagnosis.evaluate={every: 3}",
        "data.validation=0",
    )
    with pytest.raises(InputError, match=r"^data: `evaluate` needs validation records, and there are none$"):
        read_records(loaded.recipe, known, tmp_path)


def test_a_figure_that_fails_is_left_out_unless_it_chooses() -> None:
    from skinflow_plugins.bridge.evaluating.figures import figures

    answers = {"diagnosis": [Prediction("a", "diagnosis", "psoriasis", {"id": "a", "diagnosis": "no such"})]}
    with pytest.warns(RuntimeWarning, match="the metric diagnosis_top1 failed: ValueError"):
        assert figures(a_plan(), answers) == {}
    with (
        pytest.warns(RuntimeWarning, match="failed"),
        pytest.raises(WorkFailed, match=r"diagnosis_top1, which chooses the best checkpoint, .*no such"),
    ):
        figures(a_plan(best="diagnosis_top1"), answers)


def test_questions_that_are_not_there(tmp_path: Path) -> None:
    from skinflow_plugins.bridge.evaluating.evaluator import Evaluator

    trainer = SimpleNamespace(args=SimpleNamespace(output_dir=str(tmp_path)))
    with pytest.raises(InputError, match="the questions of the evaluation cannot be read"):
        Evaluator(trainer, a_plan(questions={"diagnosis": str(tmp_path / "nowhere.jsonl")}))


def test_settings_survive_their_file(read: Callable[..., Any], tmp_path: Path) -> None:
    from skinflow_plugins.bridge.entry_path import plugin_path
    from skinflow_plugins.recipe.plan import plan

    loaded, known = read(*EVALUATE)
    planned = plan(loaded.recipe, known, root=tmp_path, plugin=plugin_path())
    for stage in planned.stages:
        found = settings.settings_of(planned, stage)
        assert settings.from_json(found.to_json()) == found
        assert (found.evaluation is None) == (stage.stage.name == "caption")
        assert found.evaluation == stage.evaluation


def test_a_best_checkpoint_that_cannot_be_handed_over(read: Callable[..., Any], tmp_path: Path) -> None:
    from skinflow_plugins.bridge.entry_path import plugin_path
    from skinflow_plugins.bridge.train import _say_best
    from skinflow_plugins.recipe.plan import plan

    loaded, known = read(*EVALUATE)
    warmup, _, diagnosis = plan(loaded.recipe, known, root=tmp_path, plugin=plugin_path()).stages
    with pytest.raises(WorkFailed, match="was to hand over its best checkpoint by unparsed_share"):
        _say_best(warmup, tmp_path, print)
    _say_best(diagnosis, tmp_path, print)  # the last one is handed over; nothing is missing


@pytest.fixture
def without_recipe(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("SKINFLOW_STAGE", raising=False)
    monkeypatch.setenv("SKINFLOW_OPTIONS", '{"skinflow_diagnosis": {"taxonomy": "demo", "top_k": 2}}')
    return monkeypatch


def test_teacher_forced_tokens_are_refused(without_recipe: pytest.MonkeyPatch) -> None:
    from skinflow_plugins.bridge.evaluating.metric import DiagnosisMetric

    arguments = SimpleNamespace(predict_with_generate=False, metric_for_best_model="loss")
    with pytest.raises(InputError, match=r"no answers of the model\n.*--predict_with_generate true"):
        DiagnosisMetric(arguments, None)
    arguments.predict_with_generate = True
    assert DiagnosisMetric(arguments, None).plan.taxonomy == "demo"
    assert arguments.metric_for_best_model == "loss"  # somebody's choice


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('{"skinflow_diagnosis": {"taxonmy": "isic"}}', "unknown option 'taxonmy'; did you mean 'taxonomy'"),
        ('{"skinflow_diagnosis": {"top_k": "3"}}', "top_k is '3', expected a whole number"),
        ("{", "SKINFLOW_OPTIONS is not JSON"),
    ],
)
def test_wrong_options(without_recipe: pytest.MonkeyPatch, options: str, message: str) -> None:
    from skinflow_plugins.bridge.evaluating.metric import planned

    without_recipe.setenv("SKINFLOW_OPTIONS", options)
    with pytest.raises(InputError, match=message):
        planned()


def test_references(without_recipe: pytest.MonkeyPatch) -> None:
    from skinflow_plugins.bridge.evaluating.metric import planned, score

    found = score(
        planned(), ["psoriasis; eczema", "psoriasis"], ["1. psoriasis\n2. melanoma", "no such thing"]
    )
    assert found["clinical/diagnosis_top1"] == 1
    assert found["clinical/unread_references"] == 1
    with pytest.raises(InputError, match="none of the 2 references names a diagnosis of the taxonomy 'demo'"):
        score(planned(), ["psoriasis", ""], ["", None])
    without_recipe.delenv("SKINFLOW_OPTIONS")
    assert planned().taxonomy == "fitzpatrick17k"
    assert {figure.name for figure in planned().figures} == {
        name for name, entry in catalogue().table("metrics").items() if entry.value.task == "diagnosis"
    }

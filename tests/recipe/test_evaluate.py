"""`stages[].evaluate`: what it means for the plan, and every way to get it wrong."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from skinflow_plugins.bridge.settings import settings_of
from skinflow_plugins.bridge.swift_yaml import stage_yaml, whole_plan
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.recipe import check, load
from skinflow_plugins.recipe.check import checked
from skinflow_plugins.recipe.evaluation import clinical_names, is_lower_better
from skinflow_plugins.recipe.plan import Plan, plan

RECIPE = "quickstart"
STAGE = "stages.diagnosis.evaluate"
SAVED_AT = "stages.diagnosis.swift.save_steps"
FREE = f"{SAVED_AT}=null"
"""The quickstart's own save_steps are taken away."""


def problems(*overrides: str) -> list[str]:
    return [str(problem) for problem in check(load(RECIPE, overrides), catalogue())]


def planned(*overrides: str) -> Plan:
    recipe = checked(load(RECIPE, overrides), catalogue())
    return plan(recipe, catalogue(), root=PurePosixPath("/RUN"), plugin="/PLUGIN/plugin.py")


def test_a_stage_without_it_has_no_trace_of_it() -> None:
    whole = planned()
    for stage in whole.stages:
        assert stage.evaluation is None
        assert stage.handed_over == "final"
        assert "evaluation" not in json.loads(settings_of(whole, stage).to_json())


def test_what_is_asked_and_computed() -> None:
    whole = planned(f"{STAGE}={{every: 20, limit: 50}}", "stages.warmup.evaluate={every: 7}")
    warmup, caption, diagnosis = whole.stages
    assert caption.evaluation is None
    assert warmup.evaluation is not None
    assert diagnosis.evaluation is not None
    assert warmup.evaluation.questions == {
        "caption": "/RUN/data/1-warmup-evaluate-caption.jsonl",
        "diagnosis": "/RUN/data/1-warmup-evaluate-diagnosis.jsonl",
    }
    assert diagnosis.evaluation.questions == {"diagnosis": "/RUN/data/3-diagnosis-evaluate-diagnosis.jsonl"}
    names = [figure.name for figure in diagnosis.evaluation.figures]
    assert {"diagnosis_top1", "diagnosis_top_k", "unparsed_share"} <= set(names)
    assert "caption_field_f1" not in names
    assert "caption_field_f1" in [figure.name for figure in warmup.evaluation.figures]
    (top1,) = (figure for figure in diagnosis.evaluation.figures if figure.name == "diagnosis_top1")
    assert (top1.task, dict(top1.options)) == ("diagnosis", {"taxonomy": "demo"})
    assert diagnosis.evaluation.clinical == ("diagnosis",)
    # As after the stage
    recipe = whole.recipe.eval
    assert (diagnosis.evaluation.batch_size, diagnosis.evaluation.top_k) == (recipe.batch_size, recipe.top_k)
    assert diagnosis.evaluation.max_new_tokens == recipe.max_new_tokens


def test_swift_saves_what_is_evaluated_and_says_why() -> None:
    whole = planned(FREE, f"{STAGE}={{every: 20, best: diagnosis_top1}}")
    assert whole.stages[2].arguments["save_steps"].value == 20
    assert "save_steps: 20  # stages[].evaluate.every: the best checkpoint" in stage_yaml(
        whole, whole.stages[2]
    )
    # Without a best checkpoint it is swift's business
    whole = planned(FREE, f"{STAGE}={{every: 20}}")
    assert "save_steps" not in whole.stages[2].arguments


def test_the_recipes_own_save_steps_win_where_they_fit() -> None:
    whole = planned(f"{SAVED_AT}=5", f"{STAGE}={{every: 20, best: diagnosis_top1}}")
    assert whole.stages[2].arguments["save_steps"].value == 5


@pytest.mark.parametrize(
    ("block", "line"),
    [
        (
            "{every: 50, limit: 200, best: diagnosis_top1}",
            "# evaluate: every 50 steps, on 200 validation records, best by diagnosis_top1",
        ),
        ("{every: 1}", "# evaluate: every step, on all validation records"),
        (
            "{every: 20, best: unparsed_share, use_best: true}",
            "# evaluate: every 20 steps, on all validation records, best by unparsed_share, "
            "which is handed on",
        ),
    ],
)
def test_the_plan_says_it_in_one_line(block: str, line: str) -> None:
    text = whole_plan(planned(FREE, f"{STAGE}={block}"))
    assert [each for each in text.split("\n") if each.startswith("# evaluate:")] == [line]
    assert "# evaluate:" not in whole_plan(planned())


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_the_best_checkpoint_is_handed_over(tuner: str) -> None:
    best = "stages.caption.evaluate={every: 20, best: caption_field_f1, use_best: true}"
    base = ["stages.caption.swift.save_steps=20", f"tuning.tuner={tuner}"]
    arguments = planned(*base, best).stages[2].arguments
    name = "adapters" if tuner == "lora" else "model"
    left = arguments[name].value
    assert left == (["/RUN/stages/2-caption/best"] if tuner == "lora" else "/RUN/stages/2-caption/best")
    if tuner == "full":
        assert arguments[name].why == "the best checkpoint of stage caption"
    else:
        assert arguments["ref_adapters"].value == left
    last = planned(*base, best.replace(", use_best: true", "")).stages[2].arguments[name].value
    assert last == (["/RUN/stages/2-caption/final"] if tuner == "lora" else "/RUN/stages/2-caption/final")


def test_a_table_of_the_split_that_chooses_is_noted() -> None:
    chosen = [FREE, f"{STAGE}={{every: 20, best: diagnosis_top1, use_best: true}}"]
    assert not any("will look better" in note for note in planned(*chosen).notes)
    notes = planned(*chosen, "eval.split=validation").notes
    assert any("where the checkpoint of diagnosis is chosen" in note for note in notes)


def test_an_extending_recipe_changes_or_drops_it() -> None:
    first = f"{STAGE}={{every: 20, limit: 10}}"
    assert planned(first, f"{STAGE}.every=30").stages[2].evaluation.every == 30  # type: ignore[union-attr]
    assert planned(first, f"{STAGE}=null").stages[2].evaluation is None


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([f"{STAGE}={{}}"], ["every: is missing"]),
        ([f"{STAGE}={{every: 0}}"], ["evaluate.every: found 0, expected 1 or more"]),
        ([f"{STAGE}={{every: often}}"], ["evaluate.every: found 'often', expected a whole number"]),
        ([f"{STAGE}={{every: 5, limit: 0}}"], ["evaluate.limit: found 0, expected 1 or more"]),
        ([f"{STAGE}={{every: 5, bset: x}}"], ["unknown key 'bset'; did you mean 'best'"]),
        (
            [f"{STAGE}={{every: 5, use_best: true}}"],
            ["use_best: nothing says which checkpoint is the best", "for example best: diagnosis_top1"],
        ),
        (
            [f"{STAGE}={{every: 5, best: diagnosis_top_1}}"],
            ["evaluate.best: this stage gives no figure 'diagnosis_top_1'; did you mean 'diagnosis_top"],
        ),
        (
            [f"{STAGE}={{every: 5, best: top_k.strct@1}}"],
            ["this stage gives no figure 'top_k.strct@1'; did you mean 'top_k.strict@1'"],
        ),
        (
            [f"{STAGE}={{every: 5, best: caption_field_f1}}"],
            ["'caption_field_f1' reads answers of the form caption, and this stage asks for none"],
        ),
        (
            [f"{SAVED_AT}=3", f"{STAGE}={{every: 5, best: diagnosis_top1}}"],
            ["swift.save_steps: found 3; the checkpoints that are evaluated, every 5 steps, would not all"],
        ),
        (
            [f"{SAVED_AT}=0.1", f"{STAGE}={{every: 5, best: diagnosis_top1}}"],
            ["swift.save_steps: found 0.1;", "write save_steps: 5, or leave it out"],
        ),
        (
            ["stages.diagnosis.swift.save_strategy=epoch", f"{STAGE}={{every: 5, best: diagnosis_top1}}"],
            ["swift.save_strategy: found 'epoch'; the best checkpoint must be saved when it is evaluated"],
        ),
        (
            [
                "stages.diagnosis.swift.save_total_limit=1",
                f"{STAGE}={{every: 5, best: diagnosis_top1}}",
            ],
            ["save_total_limit: found 1; at the end swift would", "write save_total_limit: 2"],
        ),
        (
            [
                "swift.create_checkpoint_symlink=true",
                f"{STAGE}={{every: 5, best: diagnosis_top1}}",
            ],
            ["create_checkpoint_symlink: is true, but the link `best`"],
        ),
        (
            ["swift.sequence_parallel_size=2", f"{STAGE}={{every: 5}}"],
            ["swift.sequence_parallel_size: found 2; an evaluation does not work with sequences"],
        ),
    ],
)
def test_what_is_wrong_is_said_at_its_place(overrides: list[str], expected: list[str]) -> None:
    found = problems(FREE, *overrides)
    assert len(found) == 1, found
    for text in expected:
        assert text in found[0]


def test_all_that_is_wrong_at_once() -> None:
    block = "{every: -1, limit: -2, best: nothing_such, use_best: true}"
    found = problems(f"stages.caption.evaluate={block}", f"{STAGE}={block}")
    assert len([each for each in found if ".evaluate." in each]) == 6


def test_a_clinical_figure_may_choose() -> None:
    chosen = f"{STAGE}={{every: 5, best: hierarchy.clinical.severity}}"
    evaluation = planned(FREE, chosen).stages[2].evaluation
    assert evaluation is not None
    assert evaluation.lower


def test_two_tasks_of_one_form_carry_their_names() -> None:
    overrides = [
        "tasks.second={prompt: which disease, target: ranked_list}",
        "stages.warmup.teach.second={}",
        "stages.warmup.swift.save_steps=5",
    ]
    (problem,) = problems(*overrides, "stages.warmup.evaluate={every: 5, best: diagnosis_top1}")
    assert "several tasks of this stage give 'diagnosis_top1'" in problem
    assert "write one of diagnosis_top1 (diagnosis), diagnosis_top1 (second)" in problem
    best = "stages.warmup.evaluate={every: 5, best: diagnosis_top1 (second)}"
    evaluation = planned(*overrides, best).stages[0].evaluation
    assert evaluation is not None
    assert evaluation.best == "diagnosis_top1 (second)"
    assert not evaluation.lower


def test_which_figures_are_better_when_lower() -> None:
    """As the report says of them; `best` must not pick the checkpoint with most mistakes."""
    from skinflow_plugins.data.record import Prediction
    from skinflow_plugins.diagnosis.evaluation import evaluate
    from skinflow_plugins.diagnosis.load import load_taxonomy

    tree = load_taxonomy("demo")
    names = [concept.name for concept in tree.labels()]
    predictions = [
        Prediction(name, "diagnosis", names[0], {"id": name, "diagnosis": name, "confidence": 0.5})
        for name in names
    ]
    figures = evaluate(predictions, tree, top_k=6, bootstrap=0).figures
    assert {key for key in figures if is_lower_better(key)} == {
        key for key, figure in figures.items() if figure.better == "lower"
    }
    assert set(clinical_names("demo", 6)) <= set(figures)
    assert is_lower_better("unparsed_share")
    assert not is_lower_better("diagnosis_top1")

"""What is wrong with a stage's `evaluate:`: its numbers, the figure that it names, and what is saved when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.errors import InputError, nearest
from skinflow_plugins.recipe import lines, swift_arguments
from skinflow_plugins.recipe.complaints import Complaints
from skinflow_plugins.recipe.evaluation import asked_tasks, figure_names
from skinflow_plugins.recipe.metric_options import target_of
from skinflow_plugins.recipe.schema import Evaluate, Stage


def check_evaluation(found: Complaints, number: int, stage: Stage, evaluate: Evaluate) -> None:
    """Notes what is wrong with the evaluation of a stage."""
    here: lines.Path = ("stages", number, "evaluate")
    if found.is_sound((*here, "every")):
        found.at_least((*here, "every"), evaluate.every, 1)
    found.at_least((*here, "limit"), evaluate.limit, 1)
    if stage.kind in ("sft", "grpo"):
        _what_swift_does(found, number, stage, evaluate)
    if evaluate.best is not None:
        _best(found, (*here, "best"), stage, evaluate.best)
    elif evaluate.use_best:
        hint = "name the figure that decides, for example best: diagnosis_top1"
        found.wrong((*here, "use_best"), "nothing says which checkpoint is the best", hint)


def _best(found: Complaints, path: lines.Path, stage: Stage, best: str) -> None:
    """That the stage's evaluation gives the figure by which the best checkpoint is chosen."""
    recipe = found.recipe
    asked = asked_tasks(recipe, stage)
    if not asked:
        return  # a stage without a known task was reported
    try:
        names = figure_names(recipe, found.catalogue, stage)
    except InputError:  # a taxonomy that cannot be read was reported
        return
    if best in names:
        return
    entry = found.catalogue.table("metrics").get(best)
    if entry is None:
        hint = "metrics are listed by `skinflow list metrics`"
        found.wrong(path, f"this stage gives no figure {best!r}; {nearest(best, names)}", hint)
    elif all(recipe.tasks[task].target != target_of(entry.value) for task in asked):
        form = target_of(entry.value).replace("_", " ")
        found.wrong(path, f"{best!r} reads answers of the form {form}, and this stage asks for none")
    elif several := [name for name in names if name.startswith(f"{best} (")]:
        found.wrong(path, f"several tasks of this stage give {best!r}", f"write one of {', '.join(several)}")
    else:
        found.options(path[:-1], entry.value, {}, [])


def _what_swift_does(found: Complaints, number: int, stage: Stage, evaluate: Evaluate) -> None:
    """That swift saves a checkpoint at each step that is evaluated, if one is to be the best."""
    try:
        given = swift_arguments.given(found.recipe, stage)
    except ModuleNotFoundError:  # `swift_check` reports it
        return

    def at(name: str) -> lines.Path:
        return ("stages", number, "swift", name) if name in stage.swift else ("swift", name)

    parallel = given.get("sequence_parallel_size", 1)
    if isinstance(parallel, int) and parallel > 1:
        message = (
            f"found {parallel}; an evaluation does not work with sequences that are split over processes"
        )
        found.wrong(at("sequence_parallel_size"), message, "leave out this or `evaluate:`")
    if evaluate.best is None or evaluate.every < 1:
        return
    _saves(found, given, at, evaluate.every)
    if given.get("save_total_limit") == 1:
        message = "found 1; at the end swift would keep the best checkpoint and delete the last one"
        found.wrong(at("save_total_limit"), message, "write save_total_limit: 2")
    if given.get("create_checkpoint_symlink") is True:
        message = "is true, but the link `best` is set by stages[].evaluate"
        found.wrong(at("create_checkpoint_symlink"), message, "leave it out; `final` is the last checkpoint")


def _saves(found: Complaints, given: Mapping[str, Any], at: Any, every: int) -> None:
    strategy, steps = given.get("save_strategy", "steps"), given.get("save_steps", every)
    if strategy not in ("steps", "no"):  # that with 'no' nothing is saved was reported
        message = (
            f"found {strategy!r}; the best checkpoint must be saved when it is evaluated, every {every} steps"
        )
        found.wrong(at("save_strategy"), message, "leave it out, or leave out evaluate.best")
    elif strategy == "steps" and not (isinstance(steps, int) and steps > 0 and every % steps == 0):
        message = (
            f"found {steps}; the checkpoints that are evaluated, every {every} steps, would not all be saved"
        )
        found.wrong(at("save_steps"), message, f"write save_steps: {every}, or leave it out")

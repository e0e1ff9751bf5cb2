"""What a stage's `evaluate:` means: which questions are asked in training, and which figures come of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.options import check_options
from skinflow_plugins.recipe.metric_options import metric_options, target_of, taxonomy_source
from skinflow_plugins.recipe.schema import Recipe, Stage

LOWER_IS_BETTER = ("unparsed_share",)
"""Metrics of the catalogue in which less is better, as their text says."""
# As the figures of a report say of themselves; a test compares.
_LOWER_CLINICAL = (
    *("_miss@", "over_call@", "rubric.critical@", "rubric.wrong@"),
    *(".severity", ".distance@", "calibration."),
)


@dataclass(frozen=True)
class FigurePlan:
    """One metric of an evaluation: its name in the logs, the metric, whose answers it reads, its options."""

    name: str
    metric: str
    task: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationPlan:
    """What the trainer's process needs to know to evaluate.

    `questions` maps a task to the file of its questions. `clinical` are the tasks whose answers get the
    clinical figures too, under `taxonomy`; where several tasks give the same figure, its name carries the
    task. `lower` says that less of `best` is better.
    """

    every: int
    questions: Mapping[str, str]
    figures: tuple[FigurePlan, ...]
    clinical: tuple[str, ...]
    taxonomy: str | None
    top_k: int
    batch_size: int
    max_new_tokens: int
    best: str | None = None
    lower: bool = False


def plan_evaluation(
    recipe: Recipe, catalogue: Catalogue, root: PurePath, slug: str, stage: Stage
) -> EvaluationPlan | None:
    """The evaluation of a stage in the run folder `root`; None when the stage has none."""
    if stage.evaluate is None:
        return None
    asked = asked_tasks(recipe, stage)
    taxonomy = recipe.eval.taxonomy or recipe.taxonomy
    ranked = tuple(name for name in asked if recipe.tasks[name].target == "ranked_list")
    best = stage.evaluate.best
    return EvaluationPlan(
        stage.evaluate.every,
        {task: str(root / "data" / f"{slug}-evaluate-{task}.jsonl") for task in asked},
        planned_figures(recipe, catalogue, stage),
        ranked if taxonomy else (),
        taxonomy_source(catalogue, taxonomy) if taxonomy else None,
        recipe.eval.top_k,
        recipe.eval.batch_size,
        recipe.eval.max_new_tokens,
        best,
        best is not None and is_lower_better(best),
    )


def asked_tasks(recipe: Recipe, stage: Stage) -> tuple[str, ...]:
    """The tasks that a stage trains, as far as they are known; an evaluation asks each of them."""
    names = [stage.task] if stage.task is not None else list(stage.teach)
    return tuple(name for name in names if name in recipe.tasks)


def planned_figures(recipe: Recipe, catalogue: Catalogue, stage: Stage) -> tuple[FigurePlan, ...]:
    """Every metric of the catalogue that reads answers to a task of the stage, as after the stage.

    One that the recipe gives too little for is left out.
    """
    found = []
    asked = asked_tasks(recipe, stage)
    for name, entry in catalogue.table("metrics").items():
        options = metric_options(recipe, catalogue, entry.value, {})
        if check_options(entry.value.options, options):
            continue
        tasks = [task for task in asked if recipe.tasks[task].target == target_of(entry.value)]
        found += [FigurePlan(labelled(name, task, len(tasks)), name, task, options) for task in tasks]
    return tuple(found)


def labelled(name: str, task: str, tasks: int) -> str:
    """A figure's name; it carries its task where several tasks give that figure."""
    return name if tasks == 1 else f"{name} ({task})"


def figure_names(recipe: Recipe, catalogue: Catalogue, stage: Stage) -> list[str]:
    """Everything that `evaluate.best` may name in this stage."""
    names = [figure.name for figure in planned_figures(recipe, catalogue, stage)]
    taxonomy = recipe.eval.taxonomy or recipe.taxonomy
    ranked = [task for task in asked_tasks(recipe, stage) if recipe.tasks[task].target == "ranked_list"]
    if taxonomy and ranked:
        clinical = clinical_names(taxonomy_source(catalogue, taxonomy), recipe.eval.top_k)
        names += [labelled(name, task, len(ranked)) for task in ranked for name in clinical]
    return names


def clinical_names(taxonomy: str, top_k: int) -> list[str]:
    """The keys of the clinical figures that ranked answers can have under a taxonomy."""
    from skinflow_plugins.data.record import Prediction
    from skinflow_plugins.diagnosis.evaluation import clinical_figures
    from skinflow_plugins.diagnosis.load import load_taxonomy

    tree = load_taxonomy(taxonomy)
    names = [concept.name for concept in tree.labels()]
    # One about every label and every other one wrong: some figures are about some truths or mistakes only.
    answers = [names[place - place % 2] for place in range(len(names))]
    predictions = [
        Prediction(name, "diagnosis", answer, {"id": name, "diagnosis": name})
        for name, answer in zip(names, answers, strict=True)
    ]
    return list(clinical_figures(predictions, tree, top_k=top_k))


def is_lower_better(figure: str) -> bool:
    """Whether less of a figure is better."""
    name = figure.partition(" (")[0]
    return name in LOWER_IS_BETTER or any(part in name for part in _LOWER_CLINICAL)

"""The figures of an evaluation out of its answers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.evaluation import clinical_figures
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe.evaluation import EvaluationPlan, labelled


def figures(plan: EvaluationPlan, answers: Mapping[str, Sequence[Prediction]]) -> dict[str, float]:
    """Every planned figure of the answers by task.

    What fails is left out with a warning: nobody asked for it by name, and it must not end a training. Raises
    `WorkFailed` when that may be the figure that chooses the best checkpoint; if that is only not defined
    for these answers, it is NaN.
    """
    found: dict[str, float] = {}
    failed: list[str] = []

    def attempt(what: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:  # a plug-in's code may fail in any way
            failed.append(f"{what} failed: {type(error).__name__}: {error}")
            warnings.warn(failed[-1], RuntimeWarning, stacklevel=3)
            return None

    for figure in plan.figures:
        metric = catalogue().get("metrics", figure.metric)
        value = attempt(f"the metric {figure.metric}", metric, answers[figure.task], **figure.options)
        if value is not None:
            found[figure.name] = float(value)
    for task in plan.clinical:
        clinical = attempt("the clinical figures", clinical_of, plan.taxonomy, plan.top_k, answers[task])
        found |= {labelled(name, task, len(plan.clinical)): value for name, value in (clinical or {}).items()}
    if plan.best is not None and plan.best not in found:
        if failed:
            why = "; ".join(failed)
            raise WorkFailed(f"{plan.best}, which chooses the best checkpoint, could not be computed: {why}")
        found[plan.best] = math.nan
    return found


def clinical_of(taxonomy: str, top_k: int, predictions: Sequence[Prediction]) -> dict[str, float]:
    """The clinical figures of ranked answers, by their keys in the report."""
    return clinical_figures(predictions, load_taxonomy(taxonomy), top_k=top_k)

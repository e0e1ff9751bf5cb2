"""What a run reached: every metric after every stage, beside the best constant answer and the control."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.declare import Metric
from skinflow_plugins.diagnosis.baselines import constant_caption, constant_diagnosis, with_answer
from skinflow_plugins.options import check_options
from skinflow_plugins.recipe.metric_options import metric_options
from skinflow_plugins.recipe.metric_options import target_of as target_of
from skinflow_plugins.recipe.schema import Gate, Recipe

CONSTANT = "best constant answer"
PERMUTED = "permuted images"


@dataclass(frozen=True)
class Row:
    """One line of the table: what was scored, on how many records, and its metrics."""

    name: str
    records: int
    metrics: Mapping[str, float]


def metric_value(
    recipe: Recipe,
    catalogue: Catalogue,
    name: str,
    predictions: Sequence[Prediction],
    options: Mapping[str, Any] | None = None,
) -> float:
    """One metric with its options filled in from the recipe (taxonomy, fields, k)."""
    metric: Metric = catalogue.get("metrics", name)
    return float(metric(predictions, **metric_options(recipe, catalogue, metric, options or {})))


def row(recipe: Recipe, catalogue: Catalogue, name: str, answers: Mapping[str, Sequence[Prediction]]) -> Row:
    """Every metric of the catalogue whose task was asked; `answers` holds the predictions by task.

    A metric that the recipe gives too little for is left out, and so, with a warning, is one that fails: no
    recipe asked for it, and it must not end a run. Where two tasks have answers of one form, each metric's
    name carries its task.
    """
    found = {}
    for metric_name, entry in catalogue.table("metrics").items():
        if check_options(entry.value.options, metric_options(recipe, catalogue, entry.value, {})):
            continue
        target = target_of(entry.value)
        asked = [task for task in answers if answers[task] and recipe.tasks[task].target == target]
        for task in asked:
            label = metric_name if len(asked) == 1 else f"{metric_name} ({task})"
            try:
                found[label] = metric_value(recipe, catalogue, metric_name, answers[task])
            except Exception as error:
                message = f"the metric {metric_name} of {entry.owner} failed: {type(error).__name__}: {error}"
                warnings.warn(message, RuntimeWarning, stacklevel=2)
    return Row(name, max((len(p) for p in answers.values()), default=0), found)


def constant_row(recipe: Recipe, catalogue: Catalogue, answers: Mapping[str, Sequence[Prediction]]) -> Row:
    """The best that one and the same answer to every image would reach on these very samples."""
    same = {}
    for task, predictions in answers.items():
        if not predictions:
            continue
        if recipe.tasks[task].target == "caption":
            answer = constant_caption(predictions, recipe.captions)
        else:
            answer = constant_diagnosis(predictions, recipe.eval.top_k)
        same[task] = with_answer(predictions, answer)
    return row(recipe, catalogue, CONSTANT, same)


@dataclass(frozen=True)
class GateResult:
    """Whether a stage reached its gate on the validation split."""

    stage: str
    gate: Gate
    value: float

    @property
    def passed(self) -> bool:
        return self.value >= self.gate.at_least

    def __str__(self) -> str:
        word = "passed" if self.passed else "missed"
        by = abs(self.value - self.gate.at_least)
        side = "above" if self.passed else "below"
        return (
            f"gate of stage {self.stage} {word}: {self.gate.metric} is {self.value:.3f} on the validation "
            f"split, {by:.3f} {side} the {self.gate.at_least:g} that it must reach"
        )


def as_json(
    recipe: Recipe, rows: Sequence[Row], gates: Sequence[GateResult], seconds: Mapping[str, float]
) -> str:
    """Everything that a run reached, for programs: metrics by row, gates, and seconds by stage."""
    document = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "split": recipe.eval.split,
        "rows": [
            {"name": r.name, "records": r.records, **{k: round(v, 4) for k, v in r.metrics.items()}}
            for r in rows
        ],
        "gates": [
            {
                "stage": g.stage,
                "metric": g.gate.metric,
                "value": round(g.value, 4),
                "at_least": g.gate.at_least,
            }
            for g in gates
        ],
        "seconds": dict(seconds),
    }
    return json.dumps(document, indent=2) + "\n"


def as_markdown(recipe: Recipe, rows: Sequence[Row]) -> str:
    """The table as Markdown; a dash where a metric was not asked."""
    names = list(dict.fromkeys(name for r in rows for name in r.metrics))
    lines = [
        f"{recipe.name}, seed {recipe.seed}: {recipe.eval.split} split, greedy decoding",
        "",
        "| | records | " + " | ".join(heading(recipe, name) for name in names) + " |",
        "|---|---:|" + "---:|" * len(names),
    ]
    for r in rows:
        cells = [number(name, r.metrics.get(name)) for name in names]
        lines.append(f"| {r.name} | {r.records} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def heading(recipe: Recipe, metric: str) -> str:
    """A metric's name as a column head, with its k where it has one."""
    return metric.replace("top_k", f"top{recipe.eval.top_k}").replace("_", " ")


def number(metric: str, value: float | None) -> str:
    """A metric's value as it is shown: counts whole, shares with three digits, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.0f}" if metric.startswith("distinct") else f"{value:.3f}"

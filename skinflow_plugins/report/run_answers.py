"""The ranked answers that a run left after its last finished stage, with the samples that they answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.recipe.schema import DEFAULT_TASKS


@dataclass(frozen=True)
class RunAnswers:
    """The predictions of one stage and task; `stage` is its folder's name, `file` where they stand."""

    stage: str
    task: str
    split: str
    file: Path
    predictions: list[Prediction]


def run_answers(root: Path, recipe: Mapping[str, Any]) -> RunAnswers | None:
    """The answers to a ranked-list task after the last stage that has any; None when no stage has.

    `recipe` is the resolved document of run.json. An answers file that does not fit its questions line by
    line belongs to an interrupted run and is passed over.
    """
    split = str((recipe.get("eval") or {}).get("split") or "test")
    stages = [f"{n}-{stage['name']}" for n, stage in enumerate(recipe.get("stages") or (), 1)]
    for slug in reversed(stages):
        for task in _ranked_tasks(recipe):
            file = root / "predictions" / f"{slug}-{task}-{split}.jsonl"
            questions = root / "data" / f"eval-{task}-{split}.jsonl"
            if file.is_file() and questions.is_file():
                asked, answered = _rows(questions), _rows(file)
                if asked and len(asked) == len(answered):
                    predictions = [
                        _prediction(row, answer) for row, answer in zip(asked, answered, strict=True)
                    ]
                    return RunAnswers(slug, task, split, file, predictions)
    return None


def _ranked_tasks(recipe: Mapping[str, Any]) -> list[str]:
    given: dict[str, Any] = {name: task.target for name, task in DEFAULT_TASKS.items()}
    for name, task in (recipe.get("tasks") or {}).items():
        given[name] = (task or {}).get("target") or given.get(name)
    return [name for name, target in given.items() if target == "ranked_list"]


def _rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file; [] when one of them is broken."""
    try:
        # Not splitlines: JSON may hold line separators of other alphabets within a text.
        lines = file.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
    except ValueError:
        return []
    return rows if all(isinstance(row, dict) for row in rows) else []


def _prediction(row: Mapping[str, Any], answer: Mapping[str, Any]) -> Prediction:
    sample = json.loads(row["sample"])
    images = row.get("images") or []
    image = images[0] if images else None
    if isinstance(image, Mapping):
        image = image.get("path")
    return Prediction(row["id"], row["task"], str(answer.get("response") or ""), {**sample, "image": image})

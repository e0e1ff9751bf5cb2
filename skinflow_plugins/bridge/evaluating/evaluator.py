"""What our callback does in a stage with `evaluate:`: ask, score, log, and tell swift the best step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import Trainer

from skinflow_plugins.bridge import checkpoints
from skinflow_plugins.bridge.evaluating import record
from skinflow_plugins.bridge.evaluating.answers import greedy_answers
from skinflow_plugins.bridge.evaluating.figures import figures
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.recipe.evaluation import EvaluationPlan

CLINICAL = "clinical/"
"""Before the name of every figure; transformers puts `eval_` before it."""


class Evaluator:
    """The evaluations of one training. Every process has one; the first one alone writes."""

    def __init__(self, trainer: Any, plan: EvaluationPlan) -> None:
        self.trainer, self.plan = trainer, plan
        self.folder = Path(trainer.args.output_dir)
        self.rows = {task: _rows(Path(file)) for task, file in plan.questions.items()}
        # A figure that cannot be computed shall say so now, and not after hours of training.
        figures(plan, {task: _predictions(rows, [""] * len(rows)) for task, rows in self.rows.items()})

    def begin(self, state: Any) -> None:
        """Go on from the evaluations up to this step; the first process has dropped those after it."""
        if self.plan.best is None:
            return
        best = checkpoints.best(self.folder)
        # By swift's own fields: the trainer never deletes the checkpoint that they name.
        state.best_metric = best["figures"][self.plan.best] if best else None
        state.best_global_step = best["step"] if best else None
        state.best_model_checkpoint = str(self.folder / f"checkpoint-{best['step']}") if best else None
        if state.is_world_process_zero:
            checkpoints.link_best(self.folder)

    def is_due(self, state: Any) -> bool:
        """Whether the step that was just taken is one to evaluate; the last one always is."""
        step = int(state.global_step)
        return step % self.plan.every == 0 or step >= int(state.max_steps)

    def evaluate(self, state: Any, control: Any) -> None:
        """Ask, score, log and keep; before swift saves this step, so that it knows whether to keep it."""
        answers = {
            task: _predictions(
                rows,
                greedy_answers(
                    self.trainer,
                    rows,
                    batch_size=self.plan.batch_size,
                    max_new_tokens=self.plan.max_new_tokens,
                ),
            )
            for task, rows in self.rows.items()
        }
        found = figures(self.plan, answers)
        best = None if self.plan.best is None else bool(control.should_save and self._is_best(state, found))
        if best:
            state.best_metric = found[str(self.plan.best)]
            state.best_global_step = state.global_step
        if state.is_world_process_zero:
            record.add(self.folder, int(state.global_step), answers, found, best)
        # The plain log of transformers: swift's would mix the step's own figures, not yet logged, among ours.
        finite = {f"eval_{CLINICAL}{name}": value for name, value in found.items() if math.isfinite(value)}
        should_log = control.should_log
        Trainer.log(self.trainer, finite)
        control.should_log = should_log

    def _is_best(self, state: Any, found: dict[str, float]) -> bool:
        """Whether the step is better than all before it; of equals the earliest stays."""
        value, before = found[str(self.plan.best)], state.best_metric
        if not math.isfinite(value):
            return False
        return before is None or bool(value < before if self.plan.lower else value > before)


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        # Not splitlines(): U+2028 and others that it splits at may stand unescaped in a JSON string.
        return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    except OSError as error:
        hint = "`skinflow plan RECIPE -o DIR` writes the questions beside the stage's YAML"
        message = f"the questions of the evaluation cannot be read: {error.strerror}"
        raise InputError(Problem(message, where=str(file), hint=hint)) from error


def _predictions(rows: list[dict[str, Any]], answers: list[str]) -> list[Prediction]:
    return [
        Prediction(row["id"], row["task"], answer, json.loads(row["sample"]))
        for row, answer in zip(rows, answers, strict=True)
    ]

"""Our metric for `swift sft --eval_metric skinflow_diagnosis --predict_with_generate true`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from swift.metrics.base import EvalMetrics
from swift.utils import Serializer

from skinflow_plugins.bridge import settings
from skinflow_plugins.bridge.evaluating.evaluator import CLINICAL
from skinflow_plugins.bridge.evaluating.figures import figures
from skinflow_plugins.bridge.settings import DIAGNOSIS_METRIC as NAME
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.answers import parse_answer
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.options import check_options
from skinflow_plugins.recipe.evaluation import EvaluationPlan, FigurePlan

UNREAD = f"{CLINICAL}unread_references"
_TASK = "diagnosis"


@dataclasses.dataclass(frozen=True)
class Options:
    """What SKINFLOW_OPTIONS may say of the metric."""

    taxonomy: str = settings.TAXONOMY_WITHOUT_RECIPE
    top_k: int = 6


class DiagnosisMetric(EvalMetrics):
    """The clinical figures of generated answers, logged as `eval_clinical/NAME`.

    The reference is a ranked list, read as an answer is, and its first item is the truth. One that the
    taxonomy does not know is left out and counted. Taxonomy and `top_k` are those of the recipe's stage, else
    those of SKINFLOW_OPTIONS.

    Without generation swift hands over the likeliest token at each place behind the right ones before it. The
    model was not asked for an answer there, so that is refused.
    """

    def __init__(self, args: Any, trainer: Any) -> None:
        super().__init__(args, trainer)
        if not getattr(args, "predict_with_generate", False):
            message = "tokens that are predicted behind the right answer's own are no answers of the model"
            hint = "add --predict_with_generate true, and --max_new_tokens with room for a list"
            raise InputError(Problem(message, where=f"--eval_metric {NAME}", hint=hint))
        self.plan = planned()
        if args.metric_for_best_model == "rouge-l":
            # swift's own choice wherever answers are generated; only its nlg metric gives that figure.
            args.metric_for_best_model, args.greater_is_better = f"{CLINICAL}diagnosis_top1", True

    def compute_metrics(self, eval_prediction: Any) -> dict[str, float]:
        """The figures of one evaluation, by their names in the log without `eval_`."""
        answers = [str(Serializer.from_tensor(row)) for row in eval_prediction.predictions]
        references = [Serializer.from_tensor(row) for row in eval_prediction.label_ids]
        return score(self.plan, answers, references)


def score(plan: EvaluationPlan, answers: Sequence[str], references: Sequence[Any]) -> dict[str, float]:
    """The figures of answers beside ranked lists whose first item is right.

    Raises `InputError` when no reference names a diagnosis of the taxonomy.
    """
    tree = load_taxonomy(str(plan.taxonomy))
    predictions = []
    for place, (answer, reference) in enumerate(zip(answers, references, strict=True)):
        truth = next(iter(parse_answer(str(reference or ""), 1, known=tree.knows)), "")
        if tree.knows(truth):
            sample = {"id": str(place), "diagnosis": truth}
            predictions.append(Prediction(str(place), _TASK, answer, sample))
    if not predictions:
        message = f"none of the {len(references)} references names a diagnosis of the taxonomy {tree.name!r}"
        hint = (
            f'name another: {settings.OPTIONS_VARIABLE}=\'{{"{NAME}": {{"taxonomy": "isic"}}}}\'; a '
            "reference is a ranked list, the right diagnosis first"
        )
        raise InputError(Problem(message, where=f"--eval_metric {NAME}", hint=hint))
    found = {f"{CLINICAL}{name}": value for name, value in figures(plan, {_TASK: predictions}).items()}
    return {**found, UNREAD: float(len(references) - len(predictions))}


def planned() -> EvaluationPlan:
    """What the metric computes: by the recipe's stage, else by the environment."""
    stage = settings.current()
    if stage is not None and stage.evaluation is not None and stage.evaluation.taxonomy is not None:
        options = Options(stage.evaluation.taxonomy, stage.evaluation.top_k)
    else:
        options = _options()
    metrics = []
    for name, entry in catalogue().table("metrics").items():
        names = {option.name for option in entry.value.options}
        known = {"taxonomy": options.taxonomy, "k": options.top_k}
        filled = {key: value for key, value in known.items() if key in names}
        if entry.value.task == _TASK and not check_options(entry.value.options, filled):
            metrics.append(FigurePlan(name, name, _TASK, filled))
    return EvaluationPlan(1, {}, tuple(metrics), (_TASK,), options.taxonomy, options.top_k, 1, 1)


def _options() -> Options:
    given = settings.from_environment().get(NAME, {})
    fields = {field.name: type(field.default) for field in dataclasses.fields(Options)}
    problems = [f"unknown option {name!r}; {nearest(name, fields)}" for name in given if name not in fields]
    problems += [
        f"{name} is {value!r}, expected {'a name or a file' if fields[name] is str else 'a whole number'}"
        for name, value in given.items()
        if name in fields and (not isinstance(value, fields[name]) or isinstance(value, bool))
    ]
    if problems:
        raise InputError([Problem(text, f"{settings.OPTIONS_VARIABLE}: {NAME}") for text in problems])
    return Options(**given)

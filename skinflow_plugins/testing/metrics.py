"""The contract of metrics as one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.declare import Metric
from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.options import check_options
from skinflow_plugins.testing.law import Check
from skinflow_plugins.testing.rewards import ODD_ANSWERS

_NONE: Mapping[str, Any] = MappingProxyType({})


def check_metric(
    metric: Metric,
    predictions: Sequence[Prediction],
    *,
    options: Mapping[str, Any] = _NONE,
    right: Callable[[Prediction], str] | None = None,
    wrong: Callable[[Prediction], str] | None = None,
    higher_is_better: bool = True,
) -> None:
    """Hold a metric to its contract; `AssertionError` names the metric and the broken law.

    The laws: options fit; the value is one finite number, the same again and in any order of the
    predictions; it survives pickling; all right answers score better than all wrong ones, and the given
    answers not better than the right ones. `right` and `wrong` make an answer for a sample; by default the
    sample's own diagnosis or caption, and an empty answer.
    """
    check = Check(f"metric {metric.name!r}")
    if not predictions:
        raise ValueError("check_metric needs at least one prediction")
    for _, problem in check_options(metric.options, options):
        check.fail("options must fit its signature", problem)

    def value(some: Sequence[Prediction], law: str, measured: Callable[..., Any] = metric.function) -> float:
        with check.law(law):
            found = measured(some, **options)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            check.fail("the value is one finite number", f"found {found!r}")
        return float(found)

    first = value(predictions, "it scores the predictions")
    orders = {"a second run": predictions, "the predictions backwards": predictions[::-1]}
    for what, some in orders.items():
        again = value(some, f"it scores {what}")
        if not math.isclose(again, first, rel_tol=1e-12, abs_tol=1e-12):  # sums may round by their order
            check.fail(f"{what} gives the same value", f"{first!r}, then {again!r}")
    copied = check.pickled(metric)
    if value(predictions, "its pickled copy runs", copied) != first:
        check.fail("a pickled copy gives the same value")
    odd = [Prediction(p.id, p.task, a, p.sample) for p in predictions for a in ODD_ANSWERS]
    value(odd, "it survives odd answers")

    sign = 1 if higher_is_better else -1
    best = value(_answered(predictions, right or _right_answer), "it scores right answers")
    worst = value(_answered(predictions, wrong or (lambda _: "")), "it scores wrong answers")
    if sign * best <= sign * worst:
        check.fail("right answers score better than wrong ones", f"right {best:g}, wrong {worst:g}")
    if sign * first > sign * best + 1e-12:
        check.fail("nothing scores better than right answers", f"right {best:g}, the given {first:g}")


def _right_answer(prediction: Prediction) -> str:
    sample = prediction.sample
    if prediction.task == "caption" and "caption" in sample:
        return write_caption(sample["caption"])
    if "diagnosis" in sample:
        return write_ranked_list([sample["diagnosis"]])
    raise ValueError(f"sample {prediction.id} has no reference for {prediction.task!r}; give `right`")


def _answered(predictions: Sequence[Prediction], answer: Callable[[Prediction], str]) -> list[Prediction]:
    return [Prediction(each.id, each.task, answer(each), each.sample) for each in predictions]

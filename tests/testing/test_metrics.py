import re

import pytest

from skinflow_plugins import metric
from skinflow_plugins.data import Prediction
from skinflow_plugins.testing import check_metric


@metric("right_share")
def right_share(predictions, *, strict: bool = True) -> float:  # type: ignore[no-untyped-def]
    """Share of right answers."""
    return sum(p.answer == p.sample["diagnosis"] for p in predictions) / len(predictions)


@metric("first_right")
def first_right(predictions) -> float:  # type: ignore[no-untyped-def]
    """Whether the first answer is right."""
    return float(predictions[0].answer == predictions[0].sample["diagnosis"])


@metric("wrong_share")
def wrong_share(predictions) -> float:  # type: ignore[no-untyped-def]
    """Share of wrong answers."""
    return 1 - right_share(predictions)


@metric("endless")
def endless(predictions) -> float:  # type: ignore[no-untyped-def]
    """Infinite."""
    return float("inf")


PREDICTIONS = [
    Prediction("a", "diagnosis", "x", {"diagnosis": "x"}),
    Prediction("b", "diagnosis", "x", {"diagnosis": "y"}),
]


def test_good_metrics_pass() -> None:
    check_metric(right_share, PREDICTIONS, options={"strict": False})
    check_metric(wrong_share, PREDICTIONS, higher_is_better=False)


@pytest.mark.parametrize(
    ("declared", "law"),
    [
        (first_right, "the predictions backwards gives the same value"),
        (wrong_share, "right answers score better than wrong ones"),
        (endless, "the value is one finite number"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_broken_metric_laws_are_named(declared, law: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError, match=re.escape(f"metric {declared.name!r}: {law}")):
        check_metric(declared, PREDICTIONS)

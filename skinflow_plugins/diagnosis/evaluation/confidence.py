"""Whether a model knows what it does not know: calibration of given confidences, and abstentions."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinflow_plugins.diagnosis.evaluation.accuracy import accepted
from skinflow_plugins.diagnosis.evaluation.concept_table import Bools, ConceptTable, Ints
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings
from skinflow_plugins.diagnosis.evaluation.statistic import Family, Floats, Statistic, mean, share

BINS = 15


def calibration(rankings: Rankings, table: ConceptTable) -> Family | None:
    """Expected calibration error and Brier score of the first diagnosis; None without confidences."""
    given = np.isfinite(rankings.confidence)
    if not given.any():
        return None
    right = _right(rankings, table)
    sure = np.where(given, rankings.confidence, 0.0)
    member = (_bin(sure)[:, None] == np.arange(BINS)) & given[:, None]
    columns = np.concatenate([member * sure[:, None], member * right[:, None], member], 1).astype(float)
    n = int(given.sum())
    title = f"Expected calibration error ({BINS} bins)"
    error = Statistic("calibration.ece", title, columns, n, _error, better="lower", unit="score")
    brier = mean("calibration.brier", "Brier score", (sure - right) ** 2, given, better="lower")
    text = (
        "How far the stated confidence of the first diagnosis is from how often it is right (the same "
        f"disease). The error is the mean gap over {BINS} equal bins of confidence, weighted by their "
        "answers; the Brier score the mean squared difference."
    )
    return Family("calibration", "Calibration", text, (error, brier))


def _bin(confidence: Floats) -> Ints:
    return np.minimum((confidence * BINS).astype(np.int32), BINS - 1)


def _error(sums: Floats) -> Floats:
    sure, right, n = np.split(sums, 3, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.abs(sure - right).sum(-1) / n.sum(-1)
    return found


def bins(rankings: Rankings, table: ConceptTable) -> list[dict[str, Any]]:
    """Each bin of the calibration: its bounds, answers, mean confidence and accuracy."""
    given = np.isfinite(rankings.confidence)
    sure, right = rankings.confidence[given], _right(rankings, table)[given]
    which = _bin(sure)
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "n": int((which == b).sum()),
            "confidence": float(sure[which == b].mean()) if (which == b).any() else None,
            "accuracy": float(right[which == b].mean()) if (which == b).any() else None,
        }
        for b in range(BINS)
    ]


def selective(rankings: Rankings, table: ConceptTable) -> Family:
    """Coverage, and accuracy where the model did not abstain."""
    answered = ~rankings.abstained
    right = _right(rankings, table)
    text = (
        "A model may abstain by saying so and nothing else. Coverage is the share of samples that it did not "
        "abstain on, selective accuracy its Top-1 (the same disease) on those. An unreadable answer is no "
        "abstention."
    )
    return Family(
        "selective",
        "Abstaining",
        text,
        (
            share("selective.coverage", "Coverage", answered),
            share("selective.accuracy", "Accuracy where it answered", right, answered),
        ),
    )


def curve(rankings: Rankings, table: ConceptTable, points: int = 20) -> list[dict[str, float]]:
    """Accuracy of the surest answers, at growing coverage; ties in confidence are taken together."""
    given = np.isfinite(rankings.confidence) & ~rankings.abstained
    sure, right = rankings.confidence[given], _right(rankings, table)[given]
    order = np.argsort(-sure, kind="stable")
    sure, right = sure[order], right[order]
    last_of_tie = np.append(sure[1:] != sure[:-1], True) if len(sure) else np.zeros(0, dtype=bool)
    ends = np.flatnonzero(last_of_tie) + 1
    if len(ends) > points:
        ends = np.unique(ends[np.linspace(0, len(ends) - 1, points).round().astype(int)])
    return [{"coverage": float(end / len(rankings)), "accuracy": float(right[:end].mean())} for end in ends]


def _right(rankings: Rankings, table: ConceptTable) -> Bools:
    found: Bools = accepted(rankings, table, "synonym")[:, 0]
    return found

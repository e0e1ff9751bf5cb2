"""Answers that are made, not generated: what a reward pays for good, wrong and dishonest ones.

All of their words come from the user's own samples, taxonomy, caption schema and prompt.
"""

from skinflow_plugins.rewards.canned.answer import BETTER, KINDS, Canned, Kind
from skinflow_plugins.rewards.canned.findings import (
    Gain,
    Scored,
    Violation,
    above_half,
    gains,
    means_by_kind,
    violations,
)
from skinflow_plugins.rewards.canned.make import canned_answers

__all__ = [
    "BETTER",
    "KINDS",
    "Canned",
    "Gain",
    "Kind",
    "Scored",
    "Violation",
    "above_half",
    "canned_answers",
    "gains",
    "means_by_kind",
    "violations",
]

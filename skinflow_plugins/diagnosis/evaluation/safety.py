"""Dangerous mistakes: malignancies and emergencies that no listed diagnosis names, and false alarms."""

from __future__ import annotations

import numpy as np

from skinflow_plugins.diagnosis.evaluation.concept_table import ConceptTable
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings
from skinflow_plugins.diagnosis.evaluation.statistic import Family, share


def safety(rankings: Rankings, table: ConceptTable) -> Family:
    """Miss rates at every k, and the over-call rate of the first diagnosis."""
    there = rankings.concepts >= 0
    found = []
    for name, title, kind in (
        ("malignant_miss", "Malignancies missed", table.malignant),
        ("emergency_miss", "Emergencies missed", table.emergency),
    ):
        caught = np.logical_or.accumulate(there & kind[rankings.concepts], axis=1)
        true = kind[rankings.labels]
        found += [
            share(f"safety.{name}@{k}", f"{title} in the first {k}", ~caught[:, k - 1], true, "lower")
            for k in range(1, rankings.k + 1)
        ]
    harmless = (table.known & ~table.malignant & ~table.premalignant)[rankings.labels]
    called = there[:, 0] & table.malignant[rankings.concepts[:, 0]]
    found.append(share("safety.over_call@1", "Called malignant and is not", called, harmless, "lower"))
    text = (
        "Among malignant labels, the share whose first k answers name no malignant diagnosis; the same for "
        "emergencies. Over-call: among labels with a risk class that is neither malignant nor premalignant, "
        "the share whose first answer is malignant. The risk classes are authored, not clinically validated."
    )
    return Family("safety", "Safety", text, found)

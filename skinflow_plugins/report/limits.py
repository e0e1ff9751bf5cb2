"""Intended use and limits: the same words on the page and in the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BANNER = "Research use only. Not clinically validated."
WARNING = "Nothing here is medical advice, and no figure says that a model is safe for patients."
INTENDED = (
    "Research on vision-language models for dermatology: comparing training recipes, rewards and encoders.",
    "Finding where a model fails: which diseases, which skin tones, which kinds of mistake.",
)
NOT_INTENDED = (
    "Diagnosis, triage, or advice to patients, with or without a physician in the loop.",
    "Any claim of safety or of equal treatment of groups: the figures describe these images only.",
)
LIMITS = (
    "The labels of the data are taken as true. Public collections hold wrong, doubtful and duplicated "
    "images.",
    "Groups, risk classes and management classes were written for research and were not reviewed by "
    "clinicians.",
    "Synonym, subtype and group acceptance give credit for near misses, which a constant answer can earn "
    "too.",
    "Intervals show what chance does to these records. They do not cover other clinics, cameras or patients.",
    "Skin tones are those that the data set records; small groups and an unequal mix of diseases blur "
    "every gap.",
)


def limits(document: Mapping[str, Any]) -> list[str]:
    """The limits, with the taxonomy's own note and the share that was left out."""
    found = list(LIMITS)
    taxonomy = document.get("taxonomy") or {}
    if taxonomy.get("note"):
        found.append(f"Taxonomy {taxonomy.get('name')} {taxonomy.get('version')}: {taxonomy['note']}")
    judged = str((document.get("options") or {}).get("judged_by") or "")
    if judged and judged != "matcher":
        found.append(f"Verdicts are those of a language model ({judged}), which errs in ways of its own.")
    return found

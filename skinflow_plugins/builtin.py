"""What this package brings itself, through the same door as any other plug-in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from skinflow_plugins.data.isic import isic_uda1
from skinflow_plugins.data.jsonl import jsonl
from skinflow_plugins.data.synthetic import synthetic
from skinflow_plugins.declare import Dataset, Metric, Reward, VisionEncoder
from skinflow_plugins.diagnosis import builtin_taxonomies, metrics
from skinflow_plugins.hookspecs import hookimpl
from skinflow_plugins.models.encoders import base, dve
from skinflow_plugins.models.families import FAMILIES, BaseFamily
from skinflow_plugins.rewards import (
    abstain,
    answer_form,
    caption_fields,
    caption_overlap,
    caption_recovers_diagnosis,
    confidence,
    hierarchy_credit,
    length,
    morphology_gate,
    ranked_diagnosis,
    repetition,
    safety,
)


@hookimpl
def skinflow_rewards() -> Sequence[Reward]:
    form = [answer_form, length, repetition]
    stage_two = [ranked_diagnosis, hierarchy_credit, safety, morphology_gate, abstain, confidence]
    stage_one = [caption_fields, caption_overlap, caption_recovers_diagnosis]
    return [*form, *stage_one, *stage_two]


@hookimpl
def skinflow_metrics() -> Sequence[Metric]:
    return [
        metrics.diagnosis_top1,
        metrics.diagnosis_top_k,
        metrics.caption_field_f1,
        metrics.distinct_first_answers,
        metrics.unparsed_share,
    ]


@hookimpl
def skinflow_base_models() -> Sequence[BaseFamily]:
    return FAMILIES


@hookimpl
def skinflow_vision_encoders() -> Sequence[VisionEncoder]:
    return [base, dve]


@hookimpl
def skinflow_datasets() -> Sequence[Dataset]:
    return [synthetic, jsonl, isic_uda1]


@hookimpl
def skinflow_taxonomies() -> Sequence[Path]:
    folder = files("skinflow_plugins.diagnosis") / "tables"
    return [Path(str(folder / f"{name}.yaml")) for name in builtin_taxonomies()]


@hookimpl
def skinflow_recipe_dirs() -> Sequence[Path]:
    return [Path(str(files("skinflow_recipes")))]

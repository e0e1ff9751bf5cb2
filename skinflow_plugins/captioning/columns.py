"""The columns that tell where a caption comes from."""

from __future__ import annotations

PROVENANCE = (
    "caption_source",  # model, or expert
    "caption_model",
    "caption_prompt",  # name, version and the beginning of its SHA-256
    "caption_hinted",  # whether the model was told the diagnosis
    "caption_seed",
    "caption_try",  # the try that was accepted, counted from 1; how many were made, for an expert's
    "caption_judge",
    "caption_judge_prompt",
)

"""From ranked answers to clinical figures: vectorised, with intervals, baselines and groups by skin tone."""

from skinflow_plugins.diagnosis.evaluation.scoring import (
    Figure,
    Report,
    Verdicts,
    check_options,
    clinical_figures,
    evaluate,
)

__all__ = ["Figure", "Report", "Verdicts", "check_options", "clinical_figures", "evaluate"]

"""Diagnoses as a tree, answers as they are read, and the metrics on both. Not clinically validated.

`evaluate`, `clinical_figures`, `Report`, and the hierarchical `precision`, `recall` and `f1` need numpy, and
are imported when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from skinflow_plugins.diagnosis.answers import (
    ReadAnswer,
    abstains,
    parse_answer,
    read_answer,
    write_ranked_list,
)
from skinflow_plugins.diagnosis.baselines import constant_caption, constant_diagnosis, with_answer
from skinflow_plugins.diagnosis.captions import Caption, parse_caption, read_caption, write_caption
from skinflow_plugins.diagnosis.load import builtin_taxonomies, load_taxonomy
from skinflow_plugins.diagnosis.matching import Match
from skinflow_plugins.diagnosis.metrics import (
    caption_field_f1,
    diagnosis_top1,
    diagnosis_top_k,
    distinct_first_answers,
    unparsed_share,
)
from skinflow_plugins.diagnosis.taxonomy import Concept, Taxonomy

if TYPE_CHECKING:
    from skinflow_plugins.diagnosis.evaluation import Report, clinical_figures, evaluate
    from skinflow_plugins.diagnosis.hierarchy import f1, precision, recall

__all__ = [
    "Caption",
    "Concept",
    "Match",
    "ReadAnswer",
    "Report",
    "Taxonomy",
    "abstains",
    "builtin_taxonomies",
    "caption_field_f1",
    "clinical_figures",
    "constant_caption",
    "constant_diagnosis",
    "diagnosis_top1",
    "diagnosis_top_k",
    "distinct_first_answers",
    "evaluate",
    "f1",
    "load_taxonomy",
    "parse_answer",
    "parse_caption",
    "precision",
    "read_answer",
    "read_caption",
    "recall",
    "unparsed_share",
    "with_answer",
    "write_caption",
    "write_ranked_list",
]

_LATE = {
    **dict.fromkeys(("Report", "clinical_figures", "evaluate"), "skinflow_plugins.diagnosis.evaluation"),
    **dict.fromkeys(("f1", "precision", "recall"), "skinflow_plugins.diagnosis.hierarchy"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATE[name]), name)

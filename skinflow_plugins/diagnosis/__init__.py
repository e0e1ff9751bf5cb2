"""Diagnoses as a tree, answers as they are read, and the metrics on both. Not clinically validated."""

from skinflow_plugins.diagnosis.answers import (
    Caption,
    parse_answer,
    parse_caption,
    read_caption,
    write_caption,
    write_ranked_list,
)
from skinflow_plugins.diagnosis.baselines import constant_caption, constant_diagnosis, with_answer
from skinflow_plugins.diagnosis.load import builtin_taxonomies, load_taxonomy
from skinflow_plugins.diagnosis.metrics import (
    caption_field_f1,
    diagnosis_top1,
    diagnosis_top_k,
    distinct_first_answers,
    unparsed_share,
)
from skinflow_plugins.diagnosis.taxonomy import Concept, Taxonomy

__all__ = [
    "Caption",
    "Concept",
    "Taxonomy",
    "builtin_taxonomies",
    "caption_field_f1",
    "constant_caption",
    "constant_diagnosis",
    "diagnosis_top1",
    "diagnosis_top_k",
    "distinct_first_answers",
    "load_taxonomy",
    "parse_answer",
    "parse_caption",
    "read_caption",
    "unparsed_share",
    "with_answer",
    "write_caption",
    "write_ranked_list",
]

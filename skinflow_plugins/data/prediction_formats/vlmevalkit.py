"""VLMEvalKit's result files: the benchmark's own table (index, question, answer, ...) with `prediction`.

`answer` is the label there. In a multiple-choice benchmark it is a letter, and the columns A, B, ... hold
what the letters mean: labels are read as these, and so are predictions that are nothing but a letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from skinflow_plugins.data.prediction_formats.row import ABSENT, Format, Row

FAILED = "Failed to obtain answer"  # what VLMEvalKit puts where a call failed or ran out of memory
_NOT_KEPT = frozenset({"index", "prediction", "answer", "image", "image_path"})
_LETTER = re.compile(r"\s*\(?([A-Z])[).:]?\s*")


def _read(row: Mapping[str, Any]) -> Row:
    prediction = row.get("prediction", ABSENT)
    fields = {key: value for key, value in row.items() if key not in _NOT_KEPT and value is not None}
    if row.get("answer") is not None:
        fields.setdefault("diagnosis", _meant(row["answer"], row))
    if row.get("image_path"):
        fields.setdefault("image", row["image_path"])
    failed = isinstance(prediction, str) and prediction.startswith(FAILED)
    reason = "VLMEvalKit failed to obtain an answer" if failed else ""
    return Row(row.get("index", ABSENT), _meant(prediction, row), fields, left_out=reason)


def _meant(written: Any, row: Mapping[str, Any]) -> Any:
    letter = _LETTER.fullmatch(written) if isinstance(written, str) and row.get("A") else None
    return row.get(letter[1]) or written if letter else written


VLMEVALKIT = Format(
    name="vlmevalkit",
    title="VLMEvalKit's result",
    needs="the columns 'index' and 'prediction' (the label is 'answer'), in TSV or XLSX",
    matches=lambda names: {"index", "prediction"} <= names,
    containers=("table", "xlsx", "jsonl"),
    id_key="index",
    answer_key="prediction",
    read=_read,
)

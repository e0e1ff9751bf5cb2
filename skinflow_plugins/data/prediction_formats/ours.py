"""Our own prediction files: {"id", "answer", "diagnosis", ...} as JSON Lines, or as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.data.prediction_formats.row import ABSENT, Format, Row
from skinflow_plugins.data.prediction_formats.values import FIELDS

KNOWN = ("id", "answer", "task", *FIELDS)


def _read(row: Mapping[str, Any]) -> Row:
    fields = {key: value for key, value in row.items() if key not in ("id", "answer")}
    return Row(row.get("id", ABSENT), row.get("answer", ABSENT), fields)


def _read_cells(row: Mapping[str, Any]) -> Row:
    return _read({key: value for key, value in row.items() if value is not None or key in ("id", "answer")})


def _matches(names: frozenset[str]) -> bool:
    return {"id", "answer"} <= names


JSONL = Format(
    name="jsonl",
    title="our JSON Lines",
    needs="'id' and 'answer' in every row",
    matches=_matches,
    containers=("jsonl",),
    id_key="id",
    answer_key="answer",
    read=_read,
)
CSV = Format(
    name="csv",
    title="a table with our names",
    needs="the columns 'id' and 'answer', in CSV, TSV or XLSX",
    matches=_matches,
    containers=("table", "xlsx"),
    id_key="id",
    answer_key="answer",
    read=_read_cells,
)

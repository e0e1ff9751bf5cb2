"""Rows of a format as predictions: values checked, rows named, and nothing lost on the way."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from skinflow_plugins.data.prediction_formats.files import Table
from skinflow_plugins.data.prediction_formats.labels import few
from skinflow_plugins.data.prediction_formats.labels import repeated as twice_there
from skinflow_plugins.data.prediction_formats.row import ABSENT, Format, Row
from skinflow_plugins.data.prediction_formats.values import FIELDS, answer, identifier, text
from skinflow_plugins.errors import Problem

_AS_JSON = ("confidence", "rewards")  # in a table's cell: 0.7, [0.7, 0.2], {"format": 1}
TASK = "diagnosis"  # what was asked, where a row does not say


@dataclass(frozen=True, slots=True)
class Found:
    """One prediction with its line; `key` is its name in a label file."""

    line: int
    id: str
    key: str
    task: str
    answer: str
    sample: dict[str, Any]


@dataclass(slots=True)
class Checked:
    """The rows of a file: each is found, left out, or a problem."""

    found: list[Found] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_rows(
    table: Table,
    form: Format,
    columns: Mapping[str, str],
    unread: frozenset[str],
    *,
    repeated: bool = False,
) -> Checked:
    """The table's rows, read as `form`; `columns` says where else a value stands (our name -> the file's).

    Labels of the names in `unread` are not taken from this file. An id stands once, unless they may be
    `repeated`.
    """
    checked = Checked()
    rows = [(line, _overlaid(form.read(row), row, columns, unread)) for line, row in table.rows]
    if not form.id_key and "id" not in columns and all(row.id is ABSENT for _, row in rows):
        rows = _named_by_image(rows, checked)
    where = str(table.file)
    first: dict[str, int] = {}  # id -> place in the table
    twice: list[Problem] = []
    for place, (line, row) in enumerate(rows):
        before = len(checked.problems)
        id = _value(identifier, row.id, form.id_key or "id", where, line, checked)
        if id is not None and first.setdefault(id, place) != place and not repeated:
            earlier, written = table.rows[first[id]]
            twice.append(twice_there(id, earlier, line, where, same=written == table.rows[place][1]))
        if row.left_out:
            checked.left_out[row.left_out].append(line)
            continue
        said = _value(answer, row.answer, form.answer_key, where, line, checked)
        sample = _sample(row, where, line, checked, written=table.container != "jsonl")
        task = sample.pop("task", None)
        if task is not None:
            task = _value(text, task, "task", where, line, checked)
        if len(checked.problems) == before:
            sample["id"] = id
            checked.found.append(Found(line, str(id), row.key or str(id), task or TASK, str(said), sample))
    checked.problems += few(twice, "ids")
    return checked


def _overlaid(
    row: Row, written: Mapping[str, Any], columns: Mapping[str, str], unread: frozenset[str]
) -> Row:
    if not columns and not unread:
        return row
    fields = {key: value for key, value in row.fields.items() if key not in unread}
    for column in columns.values():
        fields.pop(column, None)
    chosen = {name: written.get(column, ABSENT) for name, column in columns.items()}
    id, said = chosen.pop("id", row.id), chosen.pop("answer", row.answer)
    fields.update({name: None if value is ABSENT else value for name, value in chosen.items()})
    return replace(row, id=id, answer=said, fields=fields)


def _named_by_image(rows: list[tuple[int, Row]], checked: Checked) -> list[tuple[int, Row]]:
    """The rows with ids: the image's path where each has its own, or else the row's number, from 1."""
    images = [row.fields.get("image") for _, row in rows]
    if all(images) and len(set(images)) == len(images):
        checked.notes.append("the rows have no 'id': each is named by its image")
        names = [str(image) for image in images]
    else:
        checked.notes.append(
            "the rows have no 'id', nor an image each of its own: they are named by their number"
        )
        names = [f"row {number}" for number in range(1, len(rows) + 1)]
    return [(line, replace(row, id=name)) for (line, row), name in zip(rows, names, strict=True)]


def _sample(row: Row, where: str, line: int, checked: Checked, *, written: bool) -> dict[str, Any]:
    sample = {}
    for key, value in row.fields.items():
        if written and key in _AS_JSON and isinstance(value, str):
            value = _parsed(value)
        known = _value(FIELDS[key], value, key, where, line, checked) if key in FIELDS else value
        if key not in FIELDS or known is not None:
            sample[key] = known
    return sample


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell  # which the check refuses


def _value(check: Any, value: Any, key: str, where: str, line: int, checked: Checked) -> Any:
    if value is ABSENT:
        checked.problems.append(Problem(f"no key {key!r}; every row needs one", where, line))
        return None
    try:
        return check(value)
    except ValueError as error:
        checked.problems.append(Problem(str(error), where, line, key))
        return None

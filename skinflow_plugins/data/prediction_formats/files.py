"""A file as rows of named values: JSON Lines, or a table with commas, semicolons or tabs, or XLSX."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from skinflow_plugins.data.prediction_formats.encoding import decode
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.errors import InputError, Problem

Container = Literal["jsonl", "table", "xlsx"]
_SEPARATORS = "\t,;"
_LONE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, each with its line (a row's number in XLSX), and all names in order of appearance.

    In a table and in XLSX every value is text, or None where the cell is empty.
    """

    file: Path
    container: Container
    names: tuple[str, ...]
    rows: list[tuple[int, dict[str, Any]]]
    notes: tuple[str, ...] = ()


def read_table(data: bytes, file: Path) -> Table:
    """The rows that the bytes of `file` hold; `InputError` with every line that cannot be read."""
    if data.startswith(b"PK\x03\x04"):
        from skinflow_plugins.data.prediction_formats.workbook import read_workbook

        header, rows, notes = read_workbook(data, file)
        return _table(file, "xlsx", header, iter(rows), notes)
    text = decode(data, file)
    if not text.strip():
        raise InputError(Problem("the file is empty", str(file)))
    if text.lstrip()[:1] in ("{", "["):
        return _json_lines(text, file)
    return _separated(text, file)


def _json_lines(text: str, file: Path) -> Table:
    problems: list[Problem] = []
    rows: list[tuple[int, dict[str, Any]]] = []
    names: dict[str, None] = {}
    mended = 0
    # Not splitlines(): U+2028 and others that it splits at may stand unescaped in a JSON string.
    lines = text.split("\n")
    for line, written in enumerate(lines, start=1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except json.JSONDecodeError as error:
            message = f"not JSON: {error.msg} at column {error.colno}; expected one object per line"
            hint = "the last line is cut off?" if line == len(lines) and rows else ""
            problems.append(Problem(message, str(file), line, hint=hint))
            continue
        except (ValueError, RecursionError) as error:  # a number of 4,301 digits; a thousand nested lists
            what = (
                "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"
            )
            problems.append(Problem(f"cannot be read: {what}", str(file), line))
            continue
        if not isinstance(row, dict):
            message = f"found {type(row).__name__}; expected a JSON object"
            hint = "a JSON array is not JSON Lines" if isinstance(row, list) else ""
            problems.append(Problem(message, str(file), line, hint=hint))
            continue
        if _ESCAPED.search(written):
            whole = _whole(row)
            mended += whole != row
            row = whole
        names.update(dict.fromkeys(row))
        rows.append((line, row))
    if problems:
        raise InputError([_document(text, file)] if not rows and _is_json(text) else at_most(problems))
    notes = [f"rows with half of a surrogate pair, read as U+FFFD: {mended:,}"] if mended else []
    return Table(file, "jsonl", tuple(names), rows, tuple(notes))


def _whole(value: Any) -> Any:
    """The value with every lone surrogate, which no file or page can hold, replaced by U+FFFD."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return value


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _document(text: str, file: Path) -> Problem:
    kind = "array" if text.lstrip().startswith("[") else "object"
    message = f"the file is one JSON {kind} over many lines or rows; expected JSON Lines, one object per line"
    return Problem(message, str(file), hint=f"jq -c '.[]' {file.name} > {file.stem}.jsonl")


def _separated(text: str, file: Path) -> Table:
    headers = [(_cells(text, separator), separator) for separator in _SEPARATORS]
    separator = max(headers, key=lambda found: len(found[0]))[1]
    rows = _csv_rows(text, separator, file)
    _, header = next(rows)
    return _table(file, "table", header, rows, [])


def _cells(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text[:65536].lstrip("\r\n"), newline=""), delimiter=separator), [])
    except csv.Error:
        return []


def _csv_rows(text: str, separator: str, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank with the line where it begins; a quoted value may go over many lines."""
    limit = csv.field_size_limit(sys.maxsize)  # one for the whole process, by default 131,072 characters
    try:
        # strict: otherwise a quote that is never closed swallows all rows after it.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        line = 1
        read = []
        try:
            for row in reader:
                if row:
                    read.append((line, row))
                line = reader.line_num + 1
        except csv.Error as error:
            hint = "a quote that is never closed?" if "end of data" in str(error) else ""
            raise InputError(Problem(f"not a table: {error}", str(file), line, hint=hint)) from error
    finally:
        csv.field_size_limit(limit)
    return iter(read)


def _table(
    file: Path, container: Container, header: Sequence[str], rows: Iterator[tuple[int, Any]], notes: list[str]
) -> Table:
    names = [name.strip() for name in header]
    named = [(place, name) for place, name in enumerate(names) if name]
    problems = [
        Problem(f"the column {name!r} stands there twice", str(file), 1)
        for name in dict.fromkeys(names)
        if name and names.count(name) > 1
    ]
    if len(named) < len(names):
        notes.append(f"columns of {file.name} without a name, which are not read: {len(names) - len(named)}")
    found = []
    for line, cells in rows:
        if len(cells) != len(names):
            message = f"found {len(cells)} cells; expected {len(names)}, as in the header"
            problems.append(Problem(message, str(file), line))
        else:
            found.append((line, {name: cells[place] or None for place, name in named}))
    if problems:
        raise InputError(at_most(problems))
    return Table(file, container, tuple(name for _, name in named), found, tuple(notes))

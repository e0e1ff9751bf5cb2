"""The first sheet of an XLSX file, as text."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem

MOST_CHARACTERS = 32767  # of a cell; what writes XLSX cuts the rest off without a word
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


def read_workbook(data: bytes, file: Path) -> tuple[list[str], list[tuple[int, list[str]]], list[str]]:
    """The header, the rows that are not blank with their numbers, and notes; "" stands for an empty cell."""
    try:
        import openpyxl  # type: ignore[import-untyped]
    except ImportError as error:
        message = "XLSX needs the package openpyxl, which is not installed"
        raise InputError(Problem(message, str(file), hint="pip install openpyxl")) from error
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets = book.worksheets
        sheet = sheets[0]
        sheet.reset_dimensions()  # the size that the file claims may be wrong
        cells = [(n, [_text(c) for c in row]) for n, row in enumerate(sheet.iter_rows(values_only=True), 1)]
    except Exception as error:  # openpyxl raises nearly everything on broken data
        what = str(error) or type(error).__name__
        raise InputError(Problem(f"is no XLSX file that can be read: {what}", str(file))) from error
    filled = [(number, row) for number, row in cells if any(row)]
    if not filled:
        raise InputError(Problem("the first sheet is empty", str(file)))
    header = list(filled[0][1])
    while header and not header[-1]:
        header.pop()
    notes = []
    if len(sheets) > 1:
        notes.append(f"{file.name} has {len(sheets)} sheets; only the first, {sheet.title!r}, is read")
    cut = [number for number, row in filled if any(len(cell) >= MOST_CHARACTERS for cell in row)]
    if cut:
        notes.append(
            f"rows with a cell of {MOST_CHARACTERS:,} characters, the most that XLSX holds: {len(cut):,}"
            f" (first: row {cut[0]}); the rest is probably lost, and TSV has no such limit"
        )
    return header, [(number, _fitted(row, len(header))) for number, row in filled[1:]], notes


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # Control characters are written as _x0007_.
        return _ESCAPED.sub(_character, value) if "_x" in value else value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)  # half of a surrogate pair is no character


def _fitted(row: list[str], width: int) -> list[str]:
    """The row in the header's width; empty cells at its end may be there or not."""
    while len(row) > width and not row[-1]:
        row = row[:-1]
    return row + [""] * (width - len(row))

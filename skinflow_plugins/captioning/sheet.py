"""The sheet for an expert: CSV that a spreadsheet opens, one line for each row whose tries are spent.

Columns: `id`, `image`, `diagnosis`, `skin_tone`, `tries` (what was said of each caption), `decision`, one for
each caption field, and `note`. The fields hold the last caption, to be corrected; semicolons or commas
separate values. `decision` is `accept` (the fields, as they stand then, are the caption), `drop`, or empty.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinflow_plugins.captioning.outputs import Layout
from skinflow_plugins.captioning.rows import Row
from skinflow_plugins.captioning.tries import Decision, History, Try
from skinflow_plugins.data.prediction_formats.encoding import decode, read_bytes
from skinflow_plugins.diagnosis.captions import value_key, write_caption
from skinflow_plugins.errors import InputError, Problem, nearest

BEFORE = ("id", "image", "diagnosis", "skin_tone", "tries", "decision")
NOTE = "note"
WORDS = ("accept", "drop")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""With these a cell begins that a spreadsheet takes for a formula, or for a text in disguise."""
_INNER = re.compile(r"([;,\t\r\n])(?=[=+\-@])")
"""Where a spreadsheet that takes another separator than ours would begin a cell with a formula."""


def header(fields: Mapping[str, Sequence[str]]) -> list[str]:
    """The sheet's columns; a field that is called like one of ours gets `caption ` in front."""
    return [*BEFORE, *map(column_of, fields), NOTE]


def column_of(field: str) -> str:
    """The column of a caption field."""
    return f"caption {field}" if field.lower() in (*BEFORE, NOTE) else field


def write_sheet(
    shown: Sequence[tuple[Row, History]], fields: Mapping[str, Sequence[str]], layout: Layout
) -> bytes:
    """The sheet as UTF-8 with a byte order mark, by which spreadsheets know the encoding."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(map(_guarded, header(fields)))
    for row, history in shown:
        decided = history.decision
        caption = decided.caption if decided and decided.caption else history.tries[-1].caption or {}
        tries = "\n".join(f"{each.number}. {_told(each)}" for each in history.tries)
        tries = _INNER.sub(r"\1 ", tries)
        cells = [row.id, layout.image(row), row.diagnosis, row.skin_tone or "", tries]
        cells.append(decided.word if decided else "")
        cells += ["; ".join(caption.get(name, ())) for name in fields]
        cells.append(decided.note if decided else "")
        out.writerow(map(_guarded, cells))
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", errors="replace")


def _told(attempt: Try) -> str:
    return f"{write_caption(attempt.caption or {})} -> {attempt.why}"


def _guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _bare(cell: str | None) -> str:
    cell = (cell or "").strip()
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a sheet as the expert left it; `line` counts lines of the file, from 1."""

    line: int
    id: str
    diagnosis: str
    decision: Decision | None


def read_sheet(file: Path, fields: Mapping[str, Sequence[str]]) -> list[Line]:
    """What an expert wrote. Raises `InputError` with every mistake, and the line of the file it stands in.

    Commas, semicolons and tabs separate columns, whichever the header has: spreadsheets write what the
    country's settings say.
    """
    text = decode(read_bytes(file), file)
    first = text.lstrip("\r\n").partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    found: list[Line] = []
    problems: list[Problem] = []
    try:
        head = [_bare(cell).lower() for cell in next(reader, [])]
        columns = _columns(head, fields, file)
        start = reader.line_num + 1
        for cells in reader:
            if any(cell.strip() for cell in cells):
                line = _line(start, cells, columns, len(head), fields, file, problems)
                found += [line] if line else []
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError([*problems, Problem(f"is no CSV: {error}", str(file), reader.line_num)]) from error
    if problems:
        raise InputError(problems)
    return found


def _columns(head: Sequence[str], fields: Mapping[str, Sequence[str]], file: Path) -> dict[str, int]:
    """Column of ours -> its place; `InputError` for those that are missing, unknown or there twice."""
    known = {name.lower(): name for name in header(fields)}
    needed = [name for name in known if name not in ("image", "skin_tone", "tries", NOTE)]
    problems = [
        Problem(f"the column {name!r} is missing", str(file), 1, hint="the sheet must keep its header")
        for name in needed
        if name not in head
    ]
    for place, name in enumerate(head):
        if name and name not in known:
            hint = f"{nearest(name, known)}; remarks belong into the column {NOTE!r}"
            problems.append(Problem(f"unknown column {name!r}", str(file), 1, hint=hint))
        elif name in head[:place] and name:
            problems.append(Problem(f"the column {name!r} stands here twice", str(file), 1))
    if problems:
        raise InputError(problems)
    return {known[name]: place for place, name in enumerate(head) if name}


def _line(
    number: int,
    cells: Sequence[str],
    columns: Mapping[str, int],
    width: int,
    fields: Mapping[str, Sequence[str]],
    file: Path,
    problems: list[Problem],
) -> Line | None:
    where = str(file)
    if len(cells) > width and any(cell.strip() for cell in cells[width:]):
        message = f"found {len(cells)} cells; the header has {width}"
        problems.append(Problem(message, where, number, hint="a value with a comma needs quotes"))
        return None

    def cell(name: str) -> str:
        place = columns.get(name, len(cells))
        return _bare(cells[place]) if place < len(cells) else ""

    word = cell("decision").lower()
    if not word:
        return Line(number, cell("id"), cell("diagnosis"), None)
    if word not in WORDS:
        hint = nearest(word, WORDS)
        message = f"found {word!r}; expected accept, drop, or nothing while it is not decided"
        problems.append(Problem(message, where, number, "decision", hint))
        return None
    caption: dict[str, list[str]] = {}
    if word == "accept":
        before = len(problems)
        for name, values in fields.items():
            path = column_of(name)
            named = _values(cell(path), values, Problem("", where, number, path), problems)
            if named:
                caption[name] = named
        if not caption and len(problems) == before:
            message = "is accepted, but every caption field is empty"
            problems.append(Problem(message, where, number, hint="fill in the fields, or drop the row"))
        if len(problems) > before:
            return None
    return Line(number, cell("id"), cell("diagnosis"), Decision(word, caption, cell(NOTE)))


def _values(text: str, values: Sequence[str], at: Problem, problems: list[Problem]) -> list[str]:
    """The schema's values that a cell names, in the schema's spelling."""
    known = {value_key(value): value for value in values}
    named = []
    for piece in text.split(";"):
        # A value may have a comma of its own.
        for part in [piece] if value_key(piece) in known else piece.split(","):
            value = known.get(value_key(part))
            if value is not None:
                named.append(value)
            elif part.strip():
                message = f"found {part.strip()!r}, which is no value of this field"
                problems.append(Problem(message, at.where, at.line, at.path, nearest(part.strip(), values)))
    return list(dict.fromkeys(named))

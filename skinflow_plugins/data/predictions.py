"""Predictions of any model, from our own files and from those of other programs.

The formats and what each is recognised by: `skinflow_plugins.data.prediction_formats`.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from skinflow_plugins.data.prediction_formats.checked import Checked, check_rows
from skinflow_plugins.data.prediction_formats.encoding import read_bytes
from skinflow_plugins.data.prediction_formats.files import Table, read_table
from skinflow_plugins.data.prediction_formats.joined import add_labels
from skinflow_plugins.data.prediction_formats.labels import COLUMNS, open_labels
from skinflow_plugins.data.prediction_formats.ours import KNOWN
from skinflow_plugins.data.prediction_formats.recognise import named_format, recognise
from skinflow_plugins.data.prediction_formats.slips import slips
from skinflow_plugins.data.record import Prediction
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.errors import InputError, Problem, nearest

CHOOSABLE = ("id", "answer", "diagnosis", "skin_tone", "group", "confidence", "image")
"""What `columns` may name."""
LABELLED = tuple(name for name in COLUMNS if name != "id")


@dataclass(frozen=True, slots=True)
class PredictionFile:
    """What a file of predictions holds; the rows are `len(predictions)` and all of `left_out` together.

    `lines` has the line of each prediction (in XLSX its row), `left_out` maps a reason to lines, `notes` are
    sentences for the user, the first of which says how the format was recognised.
    """

    path: Path
    format: str
    sha256: str
    rows: int
    predictions: list[Prediction]
    lines: list[int]
    left_out: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_predictions(
    path: Path,
    *,
    labels: Path | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    repeated: bool = False,
) -> PredictionFile:
    """The predictions of a file of ours, ms-swift, VLMEvalKit or evalscope, or of a table with our names.

    `labels` is a file with the diagnosis, skin tone and group of each id, or of each image's name. `columns`
    (our name -> the file's, such as `{"diagnosis": "dx"}`) goes before what is recognised, in either file; a
    label so named that only the label file has is not read from the predictions. `repeated`: an id may stand
    on several lines, as completions of one prompt do.

    A sample has "diagnosis", "skin_tone", "group", "confidence", "image" and "rewards" where they are known,
    and the file's other columns. A row with an empty answer or without a label is kept. A relative image
    stays as it is written. Raises `InputError` with all that is wrong.
    """
    with _without_collection():
        files = Path(path), Path(labels) if labels is not None else None
        return _read(*files, format, dict(columns or {}), repeated=repeated)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """A while without Python's search for cycles: of the many objects that come to be none is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(
    path: Path, labels: Path | None, format: str | None, columns: dict[str, str], *, repeated: bool
) -> PredictionFile:
    wanted = named_format(format) if format is not None else None
    _check_choices(columns)
    data = read_bytes(path)
    table = read_table(data, path)
    if not table.rows:
        raise InputError(Problem("the file has no rows; expected one prediction in each", str(path)))
    label_table = open_labels(labels) if labels is not None else None
    _check_columns(columns, table, label_table)
    here = {name: column for name, column in columns.items() if column in table.names}
    elsewhere = frozenset(columns).difference(here).intersection(LABELLED)
    names = frozenset(table.names) - frozenset(here.values()) | frozenset(here)
    form, how = recognise(table, names, wanted)
    checked = check_rows(table, form, here, elsewhere, repeated=repeated)
    if form.name in ("jsonl", "csv"):
        known = [name for name in KNOWN if name not in here]
        checked.problems = slips(table, known, here.values()) + checked.problems
    notes = [how, *table.notes, *checked.notes]
    if label_table is not None:
        add_labels(checked, table, label_table, columns, notes)
    if checked.problems:
        raise InputError(at_most(checked.problems))
    notes += _remarks(checked, table, with_labels=label_table is not None)
    return PredictionFile(
        path=path,
        format=form.name,
        sha256=hashlib.sha256(data).hexdigest(),
        rows=len(table.rows),
        predictions=[Prediction(one.id, one.task, one.answer, one.sample) for one in checked.found],
        lines=[one.line for one in checked.found],
        left_out=dict(checked.left_out),
        notes=notes,
    )


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions in our own format, whole or not at all; `read_predictions` gives the same back."""
    path = Path(path)
    lines = []
    for one in predictions:
        row = {**one.sample, "id": one.id, "task": one.task, "answer": one.answer}
        first = {"id": None, "task": None, "answer": None}  # only for the order of the keys
        text = json.dumps({**first, **row}, ensure_ascii=False)
        # Half of a surrogate pair is no UTF-8; as an escape it can be written.
        lines.append(text if _encodes(text) else json.dumps({**first, **row}))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
    partial.replace(path)


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_choices(columns: Mapping[str, str]) -> None:
    wrong = [name for name in columns if name not in CHOOSABLE]
    if wrong:
        raise InputError(
            [Problem(f"columns: unknown name {name!r}", hint=nearest(name, CHOOSABLE)) for name in wrong]
        )


def _check_columns(columns: Mapping[str, str], table: Table, labels: Table | None) -> None:
    """Refuse chosen columns that are not in the predictions nor, for labels and the id, in the label file."""
    problems = []
    for name, column in columns.items():
        places = [table, *([labels] if labels is not None and name in COLUMNS else [])]
        if not any(column in place.names for place in places):
            where = " or ".join(str(place.file) for place in places)
            found = [one for place in places for one in place.names]
            message = f"there is no column {column!r}, which `columns` names for {name!r}"
            problems.append(Problem(message, where, hint=nearest(column, found)))
    if problems:
        raise InputError(problems)


def _remarks(checked: Checked, table: Table, *, with_labels: bool) -> list[str]:
    """Sentences about what is missing."""
    notes = []
    for reason, lines in checked.left_out.items():
        notes.append(f"rows left out ({reason}): {len(lines):,} ({_at(lines)})")
    empty = [one.line for one in checked.found if not one.answer.strip()]
    if empty:
        notes.append(f"rows with an empty answer, which counts as a wrong one: {len(empty):,} ({_at(empty)})")
    bare = [one.line for one in checked.found if "diagnosis" not in one.sample]
    if bare:
        hint = ""
        other = [one for one in COLUMNS["diagnosis"] if one in table.names and one != "diagnosis"]
        if other and not with_labels and len(bare) == len(checked.found):
            hint = f"; there is a column {other[0]!r}: name it in `columns` if that is the label"
        notes.append(f"rows without a label: {len(bare):,} ({_at(bare)}){hint}")
    return notes


def _at(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:5]))
    return f"line{'s' if len(lines) > 1 else ''} {shown}" + (" and others" if len(lines) > 5 else "")

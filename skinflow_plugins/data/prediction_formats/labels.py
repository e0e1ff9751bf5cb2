"""Labels that stand in a file of their own, by id: diagnosis, skin tone, and patient or lesion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.data.prediction_formats.encoding import read_bytes
from skinflow_plugins.data.prediction_formats.files import Table, read_table
from skinflow_plugins.data.prediction_formats.slips import slips
from skinflow_plugins.data.prediction_formats.values import FIELDS, brief, identifier
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.errors import InputError, Problem, nearest

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "md5hash", "image_id", "isic_id", "img_id", "DDI_ID", "index"),
    "diagnosis": ("diagnosis", "label", "disease", "dx", "diagnostic"),
    "skin_tone": ("skin_tone", "fitzpatrick_scale", "fitzpatrick", "fitspatrick", "fst"),
    "group": ("group", "patient_id", "lesion_id", "patient"),
}
"""Our name -> what public data sets call it; the first that is there is read."""
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_FIRST = 5


@dataclass(frozen=True, slots=True)
class Labels:
    """What a label file says: id -> its line and what is known there."""

    file: Path
    rows: Mapping[str, tuple[int, Mapping[str, Any]]]
    read: Mapping[str, str]  # our name -> the file's
    notes: tuple[str, ...] = ()
    _by_stem: Mapping[str, str | None] = field(default_factory=dict)

    def find(self, name: str) -> str | None:
        """The id that the name of a row or image stands for: the same, or without folder and suffix."""
        if name in self.rows:
            return name
        return self._by_stem.get(_stem(name))


def _stem(name: str) -> str:
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    cut = last.rfind(".")
    return last[:cut] if cut > 0 and last[cut:].lower() in _SUFFIXES else last


def open_labels(path: Path) -> Table:
    """The rows of a label file, not yet checked."""
    return read_table(read_bytes(path), path)


def read_labels(table: Table, columns: Mapping[str, str]) -> Labels:
    """The labels by id; `columns` (our name -> the file's) goes before the names that are known.

    Raises `InputError` with every value that cannot be one, and with ids that stand there twice.
    """
    notes = list(table.notes)
    read: dict[str, str] = {}
    for name, candidates in COLUMNS.items():
        there = [one for one in candidates if one in table.names]
        if columns.get(name) in table.names:
            read[name] = columns[name]
        elif there:
            read[name] = there[0]
            if len(there) > 1:
                others = " and ".join(repr(one) for one in there[1:])
                notes.append(
                    f"{table.file.name} has {there[0]!r} and {others}; {there[0]!r} is read as {name}"
                )
    _check_columns(table, read)
    rows, problems = _rows(table, read)
    if problems:
        raise InputError(at_most(problems))
    stems: dict[str, str | None] = {}
    for id in rows:
        stem = _stem(id)
        stems[stem] = None if stem in stems else id  # two files of one name in two folders: neither
    return Labels(table.file, rows, read, tuple(notes), stems)


def _check_columns(table: Table, read: Mapping[str, str]) -> None:
    where = str(table.file)
    problems = []
    if not table.rows:
        problems.append(Problem("the file has no rows; expected one label in each", where))
    missing = [name for name in COLUMNS if name not in read]
    wrong = slips(table, missing, read.values())
    for names, what in (
        (("id",), "an id"),
        (("diagnosis", "skin_tone", "group"), "a label, skin tone or group"),
    ):
        if table.rows and not wrong and not set(names) & read.keys():
            candidates = [one for name in names for one in COLUMNS[name]]
            message = f"no column with {what}; expected one of {', '.join(candidates)}"
            close = [nearest(one, table.names) for one in names]
            hint = next((one for one in close if one.startswith("did")), nearest("", table.names[:12]))
            problems.append(Problem(message, where, hint=hint))
    if wrong or problems:
        raise InputError([*problems, *wrong])


def _rows(
    table: Table, read: Mapping[str, str]
) -> tuple[dict[str, tuple[int, dict[str, Any]]], list[Problem]]:
    where = str(table.file)
    rows: dict[str, tuple[int, dict[str, Any]]] = {}
    problems: list[Problem] = []
    twice: list[Problem] = []
    for line, row in table.rows:
        try:
            id = identifier(row.get(read["id"]))
        except ValueError as error:
            problems.append(Problem(str(error), where, line, read["id"]))
            continue
        known = {}
        for name, column in read.items():
            if name != "id":
                try:
                    value = FIELDS[name](row.get(column))
                except ValueError as error:
                    problems.append(Problem(str(error), where, line, column))
                    continue
                if value is not None:
                    known[name] = value
        if id in rows:
            twice.append(repeated(id, rows[id][0], line, where, same=rows[id][1] == known))
        else:
            rows[id] = (line, known)
    return rows, problems + few(twice, "ids")


def repeated(id: str, first: int, again: int, where: str, *, same: bool) -> Problem:
    """The problem of an id that stands on two lines."""
    hint = "they say the same: remove one" if same else "they differ: give each its own id, or remove one"
    return Problem(
        f"the id {brief(id)} stands on line {first} and again on line {again}", where, again, hint=hint
    )


def few(problems: list[Problem], what: str) -> list[Problem]:
    """The first five problems, and how many more there are."""
    if len(problems) <= _FIRST:
        return problems
    return [
        *problems[:_FIRST],
        Problem(f"and {len(problems) - _FIRST:,} more {what} like these", problems[0].where),
    ]


def differ(one: Any, other: Any) -> bool:
    """Whether two labels are more than two spellings of capitals, spaces and hyphens."""
    return _folded(one) != _folded(other)


def _folded(value: Any) -> str:
    return " ".join(str(value).casefold().replace("-", " ").replace("_", " ").split())


def examples(names: Iterable[str]) -> str:
    """The first three of some names, for a message."""
    return ", ".join(brief(name) for name, _ in zip(names, range(3), strict=False))

"""The rows that are to be captioned, as they stand in the user's file, and those that cannot be."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.captioning.columns import PROVENANCE
from skinflow_plugins.data.jsonl import jsonl, row_faults
from skinflow_plugins.data.record import Record
from skinflow_plugins.data.verify import at_most, verify_images
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem, nearest

NO_IMAGE, NO_DIAGNOSIS = "no image", "no diagnosis"


@dataclass(frozen=True, slots=True)
class Row:
    """A row with an image that decodes and a diagnosis of the taxonomy; `columns` are its keys as written.

    `sha256` is of the image file: a row whose image or diagnosis changes is another row.
    """

    line: int
    id: str
    image: str
    diagnosis: str
    sha256: str
    split: str
    skin_tone: str | None
    columns: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that is not captioned, and why: `reason` in a few words, `detail` for this row."""

    line: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file, in its order: those to caption and those left out; together they are all."""

    file: Path
    sha256: str
    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]

    def __len__(self) -> int:
        return len(self.rows) + len(self.left_out)


def read_rows(
    file: Path,
    taxonomy: Taxonomy,
    *,
    images: Path | None = None,
    held_out: Mapping[str, Path] | None = None,
    replace: bool = False,
    skip_bad_rows: bool = False,
) -> Rows:
    """The rows of a JSON Lines file, of the same form as the source `jsonl` reads.

    Rows without an image or a diagnosis are left out. What is wrong is an `InputError` with all mistakes: a
    line that is no row, an image that does not decode, a diagnosis that is no label of the taxonomy, and,
    unless `replace`, a caption that is there already. With `skip_bad_rows` such rows are left out too. Ids
    that stand twice, and groups in two splits, are mistakes in any case.

    The split of each row is the one that `jsonl` gives it as its file `train` beside the files of `held_out`.
    """
    raw = _bytes(file)
    folder = (images or file.parent).resolve()
    problems: list[Problem] = []
    left_out: list[LeftOut] = []
    found: list[tuple[int, dict[str, Any]]] = []
    for line, row, faults in _lines(raw, file, folder):
        if faults is None:
            left_out.append(LeftOut(line, NO_IMAGE, "the row names no image"))
        elif faults:
            problems += faults
            left_out.append(LeftOut(line, "a faulty row", str(faults[0].message)))
        else:
            found.append((line, row))
    if not found and not left_out:
        raise InputError(Problem("the file has no rows; expected one JSON object per line", str(file)))
    found, doubled = _named(found, file)
    try:
        records = _records(found, file, images, held_out or {}) if found else []
    except InputError as error:
        others = [*doubled, *(() if skip_bad_rows else problems)]
        raise InputError(_in_order([*error.problems, *others])) from None
    rows: list[Row] = []
    shown = [(line, row, record) for (line, row), record in zip(found, records, strict=True)]
    pictures = _pictures([record for _, _, record in shown if record.diagnosis is not None])
    for line, row, record in shown:
        if record.diagnosis is None:
            left_out.append(LeftOut(line, NO_DIAGNOSIS, "the row has no diagnosis"))
            continue
        digest, fault = pictures[record.image]
        bad = [*_picture_problem(fault), *_label_problem(record.diagnosis, taxonomy)]
        bad += () if replace else _caption_problems(row)
        for _, path, message, hint in bad:
            problems.append(Problem(message, str(file), line, path, hint))
        if bad:
            left_out.append(LeftOut(line, bad[0][0], bad[0][2]))
        else:
            rows.append(
                Row(
                    line,
                    record.id,
                    record.image,
                    record.diagnosis,
                    digest,
                    record.split,
                    record.skin_tone,
                    row,
                )
            )
    if doubled or (problems and not skip_bad_rows):
        raise InputError(_in_order([*doubled, *(() if skip_bad_rows else problems)]))
    if not rows:
        raise InputError(Problem("no row has an image and a diagnosis; nothing can be captioned", str(file)))
    left_out.sort(key=lambda each: each.line)
    return Rows(file, hashlib.sha256(raw).hexdigest(), tuple(rows), tuple(left_out))


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """The problems by line, those without one last; as many as anybody reads."""
    return at_most(sorted(problems, key=lambda each: each.line or sys.maxsize))


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror or error}", str(file))) from error


def _lines(
    raw: bytes, file: Path, folder: Path
) -> Iterator[tuple[int, dict[str, Any], list[Problem] | None]]:
    """Every filled line with its row and faults; None in their place where the row names no image."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(Problem(f"not UTF-8: {error.reason} at byte {error.start}", str(file))) from error
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            row = json.loads(written)
        except (ValueError, RecursionError) as error:
            message = f"not JSON: {error}; expected one object per line"
            yield line, {}, [Problem(message, str(file), line)]
            continue
        if isinstance(row, dict):
            row = {key: value for key, value in row.items() if key != "image" or value not in (None, "")}
        faults = row_faults(row, folder)
        if isinstance(row, dict) and "image" not in row and [path for path, _, _ in faults] == [""]:
            yield line, row, None
        else:
            found = [Problem(message, str(file), line, path, hint) for path, message, hint in faults]
            yield line, row if isinstance(row, dict) else {}, found


def _named(
    found: Iterable[tuple[int, dict[str, Any]]], file: Path
) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    """The rows with an id each, that of `jsonl` where they have none; and problems where one stands twice.

    Of such rows the first is among the rows.
    """
    named, problems = [], []
    first: dict[str, int] = {}
    for line, row in found:
        row = {"id": f"{file.stem}:{line}", **row}
        id = str(row["id"])
        if id in first:
            message = f"the id {id!r} stands in line {first[id]} already; expected each id once"
            problems.append(Problem(message, str(file), line, "id"))
            continue
        first[id] = line
        named.append((line, row))
    return named, problems


def _records(
    found: Sequence[tuple[int, dict[str, Any]]], file: Path, images: Path | None, held_out: Mapping[str, Path]
) -> list[Record]:
    """The records that `jsonl` makes of these rows, in their order, each with its split."""
    with tempfile.TemporaryDirectory(prefix="skinflow-caption-") as place:
        usable = Path(place) / file.name
        usable.write_text("".join(json.dumps(row) + "\n" for _, row in found), encoding="utf-8")
        originals = {str(usable): (file, [line for line, _ in found])}
        others = {}
        for split, other in held_out.items():
            others[split] = Path(place) / f"{split}-{other.name}"
            others[split].write_text(_with_absolute_images(other, images), encoding="utf-8")
            originals[str(others[split])] = other, []
        try:
            records = list(
                jsonl(Path(place), train=usable, images=(images or file.parent).resolve(), **others)
            )
        except InputError as error:
            raise InputError([_in_the_file(each, originals) for each in error.problems]) from None
    return records[: len(found)]


def _with_absolute_images(file: Path, images: Path | None) -> str:
    """The text of a file of held-out rows, readable from any folder; what is no row stays as it is."""
    folder = (images or file.parent).resolve()
    lines = []
    for text in _bytes(file).decode("utf-8-sig", errors="replace").split("\n"):
        with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
            row = json.loads(text)
            text = json.dumps({**row, "image": str(folder / row["image"])})
        lines.append(text)
    return "\n".join(lines)


def _in_the_file(problem: Problem, originals: Mapping[str, tuple[Path, Sequence[int]]]) -> Problem:
    """The problem where the user finds it: in the own file, at the line that the row has there."""
    if problem.where not in originals:
        return problem
    file, lines = originals[problem.where]
    line = lines[problem.line - 1] if problem.line and lines else problem.line
    return Problem(problem.message, str(file), line, problem.path, problem.hint)


def _pictures(records: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """Image -> (SHA-256 of its file, what is wrong with it or "")."""
    first = {record.image: record for record in records}

    def look(record: Record) -> tuple[str, str]:
        faults = verify_images([record], threads=1)
        if faults:
            return "", faults[0].message
        return hashlib.sha256(Path(record.image).read_bytes()).hexdigest(), ""

    with ThreadPoolExecutor() as pool:
        return dict(zip(first, pool.map(look, first.values()), strict=True))


_Bad = tuple[str, str, str, str]  # reason, path, message, hint


def _picture_problem(fault: str) -> Iterator[_Bad]:
    if fault:
        yield "an image that does not decode", "image", fault, ""


def _label_problem(diagnosis: str, taxonomy: Taxonomy) -> Iterator[_Bad]:
    if taxonomy.label(diagnosis) is None:
        names = [concept.name for concept in taxonomy.labels()]
        message = f"{diagnosis!r} is no diagnosis of the taxonomy {taxonomy.name}"
        yield "a label outside of the taxonomy", "diagnosis", message, nearest(diagnosis, names)


def _caption_problems(row: Mapping[str, Any]) -> Iterator[_Bad]:
    there = [key for key in ("caption", *PROVENANCE) if row.get(key)]
    if there:
        message = f"the row has {' and '.join(map(repr, there[:2]))} already"
        yield "a caption already", there[0], message, "--replace puts a new one in its place"

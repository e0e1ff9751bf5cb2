"""The user's own records: JSON Lines files, one object per image."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skinflow_plugins.data.record import SPLITS, Head, Record
from skinflow_plugins.data.verify import at_most, check_groups
from skinflow_plugins.declare import dataset
from skinflow_plugins.errors import InputError, Problem, nearest

HEAD_ROWS = 50
HELD_OUT_SHARE = 0.1  # of the training file's rows, for each held-out split that has no file
KNOWN = ("id", "image", "diagnosis", "caption", "group", "skin_tone", "split")


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    split: str | None  # what its key says
    unit: str  # what must not be torn apart: the group, or else the image as the row names it
    record: Record


def _head(options: Mapping[str, Any]) -> Head:
    images = options.get("images")
    problems: list[Problem] = []
    rows: list[_Row] = []
    for split in SPLITS:
        if options.get(split) is not None:
            rows += _read(Path(options[split]), split, images and Path(images), problems, HEAD_ROWS)
    columns = [frozenset(row.record.sample()) for row in rows]
    common = frozenset.intersection(*columns) if columns else frozenset()
    return Head(common, tuple(str(problem) for problem in at_most(problems)))


@dataset("jsonl", head=_head)
def jsonl(
    work: Path,
    *,
    train: Path,
    validation: Path | None = None,
    test: Path | None = None,
    images: Path | None = None,
) -> Iterator[Record]:
    """Your own records from JSON Lines files: image, diagnosis, caption, group and any other columns.

    A row: `{"image": "a.jpg", "diagnosis": "melanoma", "caption": {"colour": ["black", "blue"]},
    "group": "patient 7", "skin_tone": "III-IV", "id": "a", "age": 61}`; only `image` is required. Images are
    relative to `images`, or else to the file's folder. Keys that are not known become columns.

    Without a `validation` or `test` file the rows' own key `split` decides; when no row has one, each of the
    two that is missing takes a tenth of the training rows: whole groups (rows without a group: whole images),
    chosen by a hash of their names, so that the order of the rows does not matter.
    Raises `InputError` with all mistakes, and where they are.
    """
    problems: list[Problem] = []
    files = {"train": train, "validation": validation, "test": test}
    rows = {
        split: _read(Path(file), split, images and Path(images), problems)
        for split, file in files.items()
        if file is not None
    }
    missing = [split for split in SPLITS if split not in rows]
    keyed = any(row.split for row in rows["train"])
    for split, found in rows.items():
        problems += _split_problems(found, str(files[split]), split, missing, keyed)
    goes = {} if keyed else _by_hash(rows["train"], missing)
    records = [
        replace(row.record, split=row.split or goes.get(row.unit, split) if split == "train" else split)
        for split, found in rows.items()
        for row in found
    ]
    problems += check_groups(records)
    if problems:
        raise InputError(at_most(problems))
    return iter(records)


def _split_problems(
    rows: list[_Row], file: str, split: str, missing: list[str], keyed: bool
) -> Iterator[Problem]:
    """Keys `split` that contradict the file they stand in, and rows without one beside rows that have it."""
    allowed = {split, *missing} if split == "train" else {split}
    for row in rows:
        if row.split is None and keyed and split == "train":
            yield Problem("no key 'split', though other rows have one", file, row.line)
        elif row.split is not None and row.split not in allowed:
            message = f"found {row.split!r} in the file of the {split} records"
            yield Problem(f"{message}; expected {' or '.join(sorted(allowed))}", file, row.line, "split")


def _by_hash(rows: list[_Row], missing: list[str]) -> dict[str, str]:
    """Unit -> split: each missing split takes whole units out of train until it has a tenth of the rows."""
    sizes = Counter(row.unit for row in rows)
    order = sorted(sizes, key=lambda unit: hashlib.sha256(unit.encode()).digest())
    goes: dict[str, str] = {}
    for split in missing:
        taken = 0
        while len(order) > 1 and taken < HELD_OUT_SHARE * len(rows):
            unit = order.pop()
            goes[unit] = split
            taken += sizes[unit]
    return goes


def _read(
    file: Path, split: str, images: Path | None, problems: list[Problem], most: int | None = None
) -> list[_Row]:
    """The file's rows, or its first `most`; what is wrong is added to `problems`."""
    where = str(file)
    folder = (images or file.parent).resolve()
    rows = []
    empty = True
    try:
        with file.open(encoding="utf-8-sig") as lines:
            filled = ((n, text) for n, text in enumerate(lines, 1) if text.strip())
            for line, text in itertools.islice(filled, most):
                empty = False
                try:
                    row = json.loads(text)
                except json.JSONDecodeError as error:
                    hint = "a JSON array is not JSON Lines" if text.lstrip().startswith("[") else ""
                    message = f"not JSON: {error.msg} at column {error.colno}; expected one object per line"
                    problems.append(Problem(message, where, line, hint=hint))
                    continue
                faults = row_faults(row, folder)
                problems += [Problem(message, where, line, path, hint) for path, message, hint in faults]
                if not faults:
                    record = _record(row, split, folder, f"{file.stem}:{line}")
                    unit = f"group {record.group}" if record.group is not None else f"image {row['image']}"
                    rows.append(_Row(line, row.get("split"), unit, record))
    except OSError as error:
        problems.append(Problem(f"cannot be read: {error.strerror or error}", where))
    except UnicodeDecodeError as error:
        problems.append(Problem(f"not UTF-8: {error.reason} at byte {error.start}", where))
    else:
        if empty:
            problems.append(Problem("the file has no rows; expected one JSON object per line", where))
    return rows


def _record(row: Mapping[str, Any], split: str, folder: Path, name: str) -> Record:
    caption = row.get("caption") or {}
    return Record(
        id=str(row.get("id", name)),
        image=str(folder / row["image"]),
        split=split,
        diagnosis=row.get("diagnosis"),
        caption={field: (v,) if isinstance(v, str) else tuple(v) for field, v in caption.items()},
        group=None if row.get("group") is None else str(row["group"]),
        skin_tone=row.get("skin_tone"),
        columns={key: value for key, value in row.items() if key not in KNOWN},
    )


def row_faults(row: Any, folder: Path) -> list[tuple[str, str, str]]:
    """What is wrong with one row whose images are relative to `folder`, as (key, message, hint)."""
    if not isinstance(row, dict):
        return [("", f"found {_shown(row)}; expected a JSON object", "")]
    absent = [known for known in KNOWN if known not in row]
    found, meant = [], set()
    for key in row:
        # A slip would otherwise pass as a column of the user's own
        close = difflib.get_close_matches(key.lower(), absent, n=1, cutoff=0.8)
        if key not in KNOWN and close:
            meant.add(close[0])
            found.append((key, f"unknown key {key!r}", f"did you mean {close[0]!r}?"))
    if "image" in row:
        image = row["image"]
        if not isinstance(image, str) or not image:
            found.append(("image", f"found {_shown(image)}; expected a file name", ""))
        elif not (folder / image).is_file():
            found.append(
                ("image", f"there is no file {image!r} in {folder}", "`images` names another folder")
            )
    elif "image" not in meant:
        found.append(("", "no key 'image'; every row needs one", ""))
    for key in ("diagnosis", "skin_tone"):
        if row.get(key) is not None and not (isinstance(row[key], str) and row[key].strip()):
            found.append((key, f"found {_shown(row[key])}; expected text", "leave it out when it is unknown"))
    for key in ("id", "group"):
        if (key == "id" and key in row) or row.get(key) is not None:
            value = row[key]
            if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
                found.append((key, f"found {_shown(value)}; expected text or a whole number", ""))
    if row.get("split") is not None and row["split"] not in SPLITS:
        hint = nearest(str(row["split"]), SPLITS)
        found.append(("split", f"found {_shown(row['split'])}; expected one of {', '.join(SPLITS)}", hint))
    return found + _caption_faults(row.get("caption"))


def _caption_faults(caption: Any) -> list[tuple[str, str, str]]:
    if caption is None:
        return []
    if not isinstance(caption, dict):
        return [("caption", f"found {_shown(caption)}; expected an object of field: value or values", "")]
    found = []
    for name, value in caption.items():
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not values or not all(isinstance(v, str) and v for v in values):
            found.append((f"caption.{name}", f"found {_shown(value)}; expected text or a list of texts", ""))
    return found


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."

"""Verdicts as a file, so that an evaluation can be repeated, or checked by others, without asking again.

JSON Lines. The first line says who was asked and how:

    {"format": 1, "kind": "skinflow verdicts", "top_k": 6, "records": 2,
     "judge": {"model", "endpoint", "taxonomy", "prompt", "prompt_version", "prompt_sha256", "runs",
               "temperature", "seed"},
     "failures": {"transport": 0, ...}, "questions": 2, "calls": 6, "prompt_tokens": 0,
     "completion_tokens": 0, "notes": []}

and each further line holds one record, in the order of the predictions:

    {"id": "a", "answer_sha256": "...", "truth": "melanoma", "items": ["nevus", "", "melanoma"],
     "runs": [["critical", null, "correct"], null, ["critical", null, "correct"]]}

`answer_sha256` is of the answer as a JSON string. Each run has a verdict per item (null for a void one), or
is null as a whole where it failed. Majorities and agreement are not stored: they follow from the runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.judging.client import KINDS
from skinflow_plugins.judging.judged import Asked, Judged, Subject, subjects_of
from skinflow_plugins.judging.verdicts import CODE, NOTHING, decoded

FORMAT = 1
KIND = "skinflow verdicts"
_COUNTS = ("questions", "calls", "prompt_tokens", "completion_tokens")
_HINT = "ask the judge again, or give the predictions that the file was made from"


def write_verdicts(judged: Judged, path: Path) -> None:
    """Write the verdicts; the file is complete, or it is not there."""
    head = {
        "format": FORMAT,
        "kind": KIND,
        "top_k": judged.top_k,
        "records": len(judged.subjects),
        "judge": asdict(judged.asked),
        "failures": dict(judged.failures),
        **{name: getattr(judged, name) for name in _COUNTS},
        "notes": list(judged.notes),
    }
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            for line in (head, *_lines(judged)):
                file.write(json.dumps(line) + "\n")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(Problem(f"cannot be written: {error.strerror}", str(path))) from error


def _lines(judged: Judged) -> Iterator[dict[str, Any]]:
    for row, subject in enumerate(judged.subjects):
        runs = judged.run_codes[:, row, : len(subject.items)]
        failed = (runs == NOTHING).all(axis=1)
        yield {
            **asdict(subject),
            "runs": [None if lost else list(decoded(run)) for lost, run in zip(failed, runs, strict=True)],
        }


def read_verdicts(
    path: Path, predictions: Sequence[Prediction], taxonomy: Taxonomy, *, top_k: int = 6
) -> Judged:
    """The verdicts of a file, put in the order of the predictions; no call is made.

    Each prediction must stand in the file once, with the same answer, reference and items, and nothing else
    may stand there. Raises `InputError` with what differs and in which line.
    """
    subjects = subjects_of(predictions, taxonomy, top_k)
    where = str(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", where)) from error
    except UnicodeDecodeError as error:
        raise InputError(Problem(f"is no text in UTF-8: {error}", where)) from error
    head = _object(lines[0]) if lines else None
    asked = _asked(head)
    if head is None or asked is None:
        message = f"expected a first line with kind {KIND!r}, format {FORMAT} and the judge"
        raise InputError(Problem(message, where, 1, hint="such files are written by `skinflow eval --judge`"))
    if head["top_k"] != top_k:
        hint = f"evaluate with top-k {head['top_k']}, or ask the judge again"
        raise InputError(
            Problem(f"holds verdicts on the first {head['top_k']}, not {top_k}", where, 1, hint=hint)
        )
    codes = np.full((asked.runs, len(subjects), top_k), NOTHING, np.int8)
    rows = {subject.id: row for row, subject in enumerate(subjects)}
    problems: list[Problem] = []
    seen: set[str] = set()
    for number, text in enumerate(lines[1:], start=2):
        found = _object(text)
        name = found.get("id") if found is not None else None
        if found is None or not isinstance(name, str):
            problems.append(Problem("is no record of verdicts", where, number))
        elif name in seen:
            problems.append(Problem(f"record {name!r} stands here twice", where, number))
        elif name not in rows:
            problems.append(
                Problem(f"record {name!r} is not among the predictions", where, number, hint=_HINT)
            )
        else:
            seen.add(name)
            subject = subjects[rows[name]]
            if message := _difference(found, subject):
                problems.append(Problem(f"record {name!r}: {message}", where, number, hint=_HINT))
            elif not _fill(codes[:, rows[name]], found.get("runs"), subject):
                message = f"record {name!r}: expected {asked.runs} runs with a verdict on each item"
                problems.append(Problem(message, where, number))
    problems += [
        Problem(f"holds no verdict on prediction {subject.id!r}", where, hint=_HINT)
        for subject in subjects
        if subject.id not in seen
    ]
    if problems:
        raise InputError(at_most(problems))
    failures: dict[str, int] = {kind: _count(head["failures"].get(kind)) for kind in KINDS}
    counts = {name: _count(head.get(name)) for name in _COUNTS}
    notes = tuple(str(note) for note in head.get("notes", ()))
    return Judged(asked, subjects, top_k, codes, failures, notes=notes, **counts)


def _difference(found: dict[str, Any], subject: Subject) -> str:
    if found.get("answer_sha256") != subject.answer_sha256:
        return "the answer is not the one that was judged"
    if found.get("truth") != subject.truth:
        return f"the reference was {found.get('truth')!r} and is {subject.truth!r}"
    if found.get("items") != list(subject.items):
        return "the answer is not read as the same items; the taxonomy has changed"
    return ""


def _fill(codes: np.ndarray[tuple[int, ...], np.dtype[np.int8]], runs: object, subject: Subject) -> bool:
    """Write a record's verdicts into its (runs, top_k) codes; False when they do not fit the items."""
    if not isinstance(runs, list) or len(runs) != len(codes):
        return False
    for row, run in zip(codes, runs, strict=True):
        if run is None:
            continue
        if not isinstance(run, list) or len(run) != len(subject.items):
            return False
        for rank, (item, verdict) in enumerate(zip(subject.items, run, strict=True)):
            if not item and verdict is None:
                continue
            if not item or not isinstance(verdict, str) or verdict not in CODE:
                return False
            row[rank] = CODE[verdict]
    return True


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _asked(head: dict[str, Any] | None) -> Asked | None:
    if head is None or head.get("kind") != KIND or head.get("format") != FORMAT:
        return None
    judge = head.get("judge")
    types: dict[str, type | tuple[type, ...]] = {"runs": int, "seed": int, "temperature": (int, float)}
    if not isinstance(judge, dict) or set(judge) != {field.name for field in fields(Asked)}:
        return None
    if not all(isinstance(value, types.get(name, str)) for name, value in judge.items()) or judge["runs"] < 1:
        return None
    right = type(head.get("top_k")) is int and isinstance(head.get("failures"), dict)
    return Asked(**judge) if right and isinstance(head.get("notes", []), list) else None


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0

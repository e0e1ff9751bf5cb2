"""An expert's decisions taken into the journal: each checked against what is known of its row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.captioning.rows import Row
from skinflow_plugins.captioning.sheet import Line
from skinflow_plugins.captioning.tries import Decision, History
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.diagnosis.caption_leak import leaked_name
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem, nearest


@dataclass(frozen=True, slots=True)
class Merged:
    """New decisions as events of the journal, and how many lines were known already or are undecided."""

    events: tuple[dict[str, Any], ...]
    known: int
    undecided: int


def decisions(
    lines: Sequence[Line],
    rows: Sequence[Row],
    pasts: Mapping[str, History],
    most: int,
    taxonomy: Taxonomy,
    file: Path,
    *,
    overrule: bool = False,
) -> Merged:
    """The decisions of a sheet that are new. Raises `InputError` with every conflict and its line.

    A conflict is a row that is not there or not up for review, a diagnosis that was changed in the sheet, a
    row that stands there twice, a decision other than the one taken before (unless `overrule`), and a caption
    that names the diagnosis.
    """
    by_id = {row.id: row for row in rows}
    problems: list[Problem] = []
    events: list[dict[str, Any]] = []
    first: dict[str, int] = {}
    known = undecided = 0
    for line in lines:
        message, hint = _conflict(line, by_id, pasts, most, first, taxonomy, overrule)
        first.setdefault(line.id, line.line)
        if message:
            problems.append(Problem(message, str(file), line.line, hint=hint))
        elif line.decision is None:
            undecided += 1
        elif _same(pasts[line.id].decision, line.decision):
            known += 1
        else:
            events.append(_event(by_id[line.id], line.decision))
    if problems:
        raise InputError(at_most(problems))
    return Merged(tuple(events), known, undecided)


def _conflict(
    line: Line,
    by_id: Mapping[str, Row],
    pasts: Mapping[str, History],
    most: int,
    first: Mapping[str, int],
    taxonomy: Taxonomy,
    overrule: bool,
) -> tuple[str, str]:
    """What speaks against a line, and what to do; nothing where nothing does."""
    row, history = by_id.get(line.id), pasts.get(line.id)
    if row is None or history is None:
        spoilt = "; a spreadsheet may have changed it, such as 0012 to 12"
        return f"there is no row with the id {line.id!r} in review", nearest(line.id, pasts) + spoilt
    if line.id in first:
        return f"the row {line.id!r} stands in line {first[line.id]} already", "leave one of the two"
    if line.diagnosis != row.diagnosis:
        message = f"the diagnosis of {line.id!r} is {row.diagnosis!r} in the data and {line.diagnosis!r} here"
        return message, "a wrong diagnosis is put right in the data, and captioned again in another folder"
    status = history.status(most)
    if status != "review":
        return f"the row {line.id!r} is {status}, not up for review", "take its line out"
    if line.decision is None:
        if history.decision is not None:
            message = f"the row {line.id!r} was decided before ({_told(history.decision)}); here it is not"
            return message, "a decision is not taken back in silence: write it again, or the other one"
        return "", ""
    if history.decision is not None and not overrule and not _same(history.decision, line.decision):
        message = (
            f"the row {line.id!r} was decided before: {_told(history.decision)}; here {_told(line.decision)}"
        )
        return message, "with --overrule the later decision counts"
    if line.decision.word == "accept":
        name = leaked_name(write_caption(line.decision.caption), row.diagnosis, taxonomy)
        if name is not None:
            return f"the caption of {line.id!r} names the diagnosis: {name!r}", "describe it, or drop the row"
    return "", ""


def _same(before: Decision | None, now: Decision) -> bool:
    """Whether two decisions are one; a note alone makes no other decision."""
    if before is None or before.word != now.word:
        return False
    return {k: sorted(v) for k, v in before.caption.items()} == {k: sorted(v) for k, v in now.caption.items()}


def _told(decision: Decision) -> str:
    return f"accept {json.dumps(write_caption(decision.caption))}" if decision.caption else decision.word


def _event(row: Row, decision: Decision) -> dict[str, Any]:
    return {
        "id": row.id,
        "image_sha256": row.sha256,
        "diagnosis": row.diagnosis,
        "decision": decision.word,
        "caption": {name: list(values) for name, values in decision.caption.items()},
        "note": decision.note,
    }

"""The files that are made of rows and their histories: captions for training, and what an expert must see."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.captioning.columns import PROVENANCE
from skinflow_plugins.captioning.rows import LeftOut, Row
from skinflow_plugins.captioning.tries import Caption, History


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the columns of provenance say of every caption of a folder; prompts by name, version and hash."""

    captioner: str
    prompt: str
    hinted: bool
    judge: str
    judge_prompt: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are written: where images are looked for, and whether each row names its split.

    Without a folder of `images` of its own, paths are made relative to `folder`, where the file will stand.
    """

    folder: Path
    images: Path | None = None
    split: bool = True

    def image(self, row: Row) -> str:
        written = str(row.columns["image"])
        if self.images is not None or Path(written).is_absolute():
            return written
        return Path(os.path.relpath(row.image, self.folder.resolve())).as_posix()


def caption_row(row: Row, history: History, layout: Layout, made: Provenance) -> dict[str, Any] | None:
    """The row as training data: its own columns, the caption, and where it comes from; None without one."""
    taken = history.accepted
    caption: Caption
    if taken is not None and taken.caption is not None:
        caption, source, seed, number = taken.caption, "model", taken.seed, taken.number
    elif history.decision is not None and history.decision.word == "accept":
        caption, source, seed, number = history.decision.caption, "expert", None, len(history.tries)
    else:
        return None
    kept = {key: value for key, value in row.columns.items() if key not in ("caption", *PROVENANCE)}
    kept |= {"id": row.id, "image": layout.image(row)}
    if layout.split:
        kept["split"] = row.split
    kept["caption"] = {name: list(values) for name, values in caption.items()}
    said = (
        source, made.captioner, made.prompt, made.hinted, seed, number, made.judge, made.judge_prompt,
    )  # fmt: skip
    return kept | dict(zip(PROVENANCE, said, strict=True))


def review_row(row: Row, history: History, layout: Layout) -> dict[str, Any]:
    """A row whose tries are spent, with all of them; `decision` is empty until an expert has decided."""
    decided = history.decision
    found: dict[str, Any] = {"id": row.id, "image": layout.image(row), "diagnosis": row.diagnosis}
    if row.skin_tone is not None:
        found["skin_tone"] = row.skin_tone
    found["tries"] = [each.as_event() for each in history.tries]
    found["decision"] = decided.word if decided else ""
    if decided:
        found |= {"caption": {k: list(v) for k, v in decided.caption.items()}, "note": decided.note}
    return found


def failed_row(row: Row, history: History) -> dict[str, Any]:
    """A row without a verdict, and why; the next call asks again."""
    last = history.attempts[-1].failure
    found: dict[str, Any] = {"id": row.id, "diagnosis": row.diagnosis, "failures": len(history.failures)}
    return found | ({"asked": last.asked, "kind": last.kind, "detail": last.detail} if last else {})


def left_out_row(each: LeftOut) -> dict[str, Any]:
    """A row of the input that is not captioned, and why."""
    return {"line": each.line, "reason": each.reason, "detail": each.detail}


def lines(objects: Iterable[Mapping[str, Any]]) -> bytes:
    """Objects as JSON Lines."""
    return "".join(json.dumps(each, ensure_ascii=True) + "\n" for each in objects).encode()


def of_status(
    rows: Sequence[Row], pasts: Mapping[str, History], most: int, status: str
) -> list[tuple[Row, History]]:
    """The rows that stand so, with their histories, in the order of the input."""
    return [
        (row, pasts[row.id])
        for row in rows
        if row.id in pasts and pasts[row.id].attempts and pasts[row.id].status(most) == status
    ]

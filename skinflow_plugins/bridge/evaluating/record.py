"""evaluations.jsonl: one line per evaluated step, the same after any interruption; and the answers behind it.

A line says the step, how many records were asked about, and the figures; where a best checkpoint is chosen,
also whether this was the best so far. The last line that says so is about the best checkpoint.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from skinflow_plugins.data.record import Prediction

LOG = "evaluations.jsonl"
ANSWERS = "evaluations"
_NAME = "{task}-{step}.jsonl"


def answers_file(folder: Path, task: str, step: int) -> Path:
    """Where the answers of an evaluation are kept, as predictions that `skinflow eval` reads."""
    return folder / ANSWERS / _NAME.format(task=task, step=step)


def read(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a stage, by step; half a line at the end is none."""
    log = folder / LOG
    if not log.is_file():
        return []
    with log.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]


def add(
    folder: Path,
    step: int,
    answers: Mapping[str, Sequence[Prediction]],
    figures: Mapping[str, float],
    best: bool | None,
) -> None:
    """Keep an evaluation; its line is written last, so what it speaks of is there."""
    for task, predictions in answers.items():
        lines = (json.dumps(asdict(each), ensure_ascii=False) for each in predictions)
        _write(answers_file(folder, task, step), lines)
    row: dict[str, Any] = {
        "step": step,
        "records": max(map(len, answers.values()), default=0),
        "figures": {name: value if math.isfinite(value) else None for name, value in figures.items()},
    }
    if best is not None:
        row["best"] = best
    kept = [each for each in read(folder) if each["step"] < step]
    _write(folder / LOG, map(json.dumps, [*kept, row]))


def drop_after(folder: Path, step: int) -> None:
    """Remove the evaluations of steps after `step`: they will be made again."""
    log = folder / LOG
    if log.is_file():
        _write(log, (json.dumps(row) for row in read(folder) if row["step"] <= step))
    for file in (folder / ANSWERS).glob(_NAME.format(task="*", step="*")):
        if int(file.stem.rpartition("-")[2]) > step:
            file.unlink()


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    partial.replace(path)

"""rewards.jsonl and what stands beside it, the same after any interruption.

While a stage trains, its first process appends the lines of every batch to a part; the callback makes
rewards.jsonl of it, in a fixed order, when the stage ends, and drops the lines of steps that are run again
when a stage is resumed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

PART = "rewards.rank{rank}.jsonl"
WHOLE = "rewards.jsonl"
STEPS = "reward_steps.jsonl"
ALARMS = "alarms.jsonl"
USAGE = "judge_usage.jsonl"
SWIFT_LOG = "logging.jsonl"
_ESCAPED = "backslashreplace"
"""UTF-8 has no half of a surrogate pair, which a judge's JSON may hold; escaped so, it is JSON again."""


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to a log."""
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors=_ESCAPED) as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def part(folder: Path) -> Path:
    """The part that is written while a stage trains."""
    return folder / PART.format(rank=0)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; half a line at its end is none."""
    return [json.loads(line) for line in _whole_lines(path)] if path.is_file() else []


def batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of a part batch by batch, as they were added."""
    if path.is_file():
        rows = map(json.loads, _whole_lines(path))
        for _, batch in groupby(rows, key=lambda row: (row["step"], row.get("batch", 0))):
            yield list(batch)


def drop_after(folder: Path, step: int) -> None:
    """Remove the lines of steps after `step`: they will be run again. Half a line at the end goes too.

    swift's own log of the steps, to which it only ever appends, is treated likewise.
    """
    for log in (*folder.glob(PART.format(rank="*")), *(folder / name for name in (STEPS, ALARMS, USAGE))):
        if log.is_file():
            _replace(log, (line for line in _whole_lines(log) if json.loads(line)["step"] <= step))
    log = folder / SWIFT_LOG
    if log.is_file():
        _replace(log, (line for line in _whole_lines(log) if _is_step_until(json.loads(line), step)))


def _is_step_until(row: Mapping[str, Any], step: int) -> bool:
    """Whether a line of swift's log is about a step up to `step`; its two lines about the end are not."""
    at = str(row.get("global_step/max_steps", "")).partition("/")[0]
    return at.isdecimal() and int(at) <= step and "train_runtime" not in row


def join(folder: Path) -> Path:
    """Write rewards.jsonl out of the parts, ordered by step, sample and completion.

    Which process judged a completion, and in which order, therefore cannot be seen in the file: groups are
    numbered by their place in it. One step at a time is held in memory.
    """
    parts = sorted(folder.glob(PART.format(rank="*")))
    rows = (row for step in _steps(parts) for row in _ordered(step))
    return _replace(folder / WHOLE, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _steps(parts: Iterable[Path]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each step, in the order of the steps."""
    stretches: dict[int, list[tuple[Path, int, int]]] = {}
    for path in parts:
        for step, start, length in _stretches(path):
            stretches.setdefault(step, []).append((path, start, length))
    for step in sorted(stretches):
        yield [row for place in stretches[step] for row in _rows_at(*place)]


def _stretches(path: Path) -> Iterator[tuple[int, int, int]]:
    """(step, first byte, bytes) of the whole lines of a part, those of one step in succession together."""
    start = 0
    with path.open("rb") as file:
        whole = (line for line in file if line.endswith(b"\n"))
        for step, lines in groupby(whole, key=lambda line: int(json.loads(line)["step"])):
            length = sum(map(len, lines))
            yield step, start, length
            start += length


def _rows_at(path: Path, start: int, length: int) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        file.seek(start)
        return [json.loads(line) for line in file.read(length).split(b"\n") if line]


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one step in their order, with `generation` and `group` numbered by it."""
    rows.sort(key=_place)
    seen: Counter[tuple[Any, ...]] = Counter()
    numbers: dict[int, int] = {}
    for row in rows:
        # swift's prompt_id goes by the text alone, and two images under one question would share it.
        asked = row["id"], row["task"]
        row["generation"] = seen[asked]
        seen[asked] += 1
        if "group" in row:
            row["group"] = numbers.setdefault(row["group"], len(numbers))
    return rows


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    rest = {name: part for name, part in row.items() if name != "group"}
    return str(row["id"]), str(row["task"]), row["completion"], str(rest)


def _whole_lines(path: Path) -> Iterable[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield line


def _replace(path: Path, lines: Iterable[str]) -> Path:
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", errors=_ESCAPED) as file:
        file.writelines(lines)
    partial.replace(path)
    return path

"""rewards.jsonl: every component of every completion, one line each, the same after any interruption.

Each process writes a part of its own while it trains (`rewards.rank0.jsonl`); the callback joins them into
rewards.jsonl in a fixed order when the stage ends, and drops the lines of steps that are run again when a
stage is resumed.
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.settings import StageSettings
from skinflow_plugins.recipe.plan import RewardPlan

PART = "rewards.rank{rank}.jsonl"
WHOLE = "rewards.jsonl"
SWIFT_LOG = "logging.jsonl"


class RewardLog:
    """Collects the components of one batch until every reward has spoken, then writes its lines.

    swift calls each reward once per batch, in any order where some are async; a batch is complete when all
    keys of the stage have been added.
    """

    def __init__(self, folder: Path, keys: Sequence[str], weights: Mapping[str, float]) -> None:
        self.path = folder / PART.format(rank=int(os.environ.get("RANK", "0")))
        self.keys = tuple(keys)
        self.weights = dict(weights)
        self._waiting: dict[str, list[float | None]] = {}

    def add(
        self,
        plan: RewardPlan,
        values: list[float | None],
        completions: Sequence[str],
        kwargs: Mapping[str, Any],
    ) -> None:
        self._waiting[plan.key] = values
        if len(self._waiting) < len(self.keys):
            return
        components, self._waiting = self._waiting, {}
        state = kwargs.get("trainer_state")
        step = int(state.global_step) + 1 if state is not None else 0
        ids = kwargs.get("id") or [None] * len(completions)
        tasks = kwargs.get("task") or [None] * len(completions)
        lines = []
        for row, completion in enumerate(completions):
            given = {key: components[key][row] for key in self.keys if components[key][row] is not None}
            total = sum(self.weights[key] * value for key, value in given.items() if value is not None)
            line = {
                "step": step,
                "id": ids[row],
                "task": tasks[row],
                "completion": completion,
                "rewards": given,
                "total": round(total, 6),
            }
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(lines)


class NoLog:
    """Outside a recipe nobody said where a log should go."""

    def add(self, *_: Any) -> None:
        return None


def open_log(stage: StageSettings | None, output_dir: str | None) -> RewardLog | NoLog:
    """The log that all rewards of a stage share within this process."""
    if stage is None or output_dir is None:
        return NoLog()
    return _shared(
        output_dir,
        tuple(plan.key for plan in stage.rewards),
        tuple(plan.weight for plan in stage.rewards),
    )


@functools.lru_cache(maxsize=1)
def _shared(output_dir: str, keys: tuple[str, ...], weights: tuple[float, ...]) -> RewardLog:
    return RewardLog(Path(output_dir), keys, dict(zip(keys, weights, strict=True)))


def forget() -> None:
    """Start a new log at the next opening; one process may run several stages."""
    _shared.cache_clear()


def drop_after(folder: Path, step: int) -> None:
    """Remove the lines of steps after `step`: they will be run again. Half a line at the end goes too.

    swift's own log of the steps, to which it only ever appends, is treated likewise.
    """
    for part in folder.glob(PART.format(rank="*")):
        kept = [line for line in _whole_lines(part) if json.loads(line)["step"] <= step]
        _replace(part, kept)
    log = folder / SWIFT_LOG
    if log.is_file():
        _replace(log, [line for line in _whole_lines(log) if _is_step_until(json.loads(line), step)])


def _is_step_until(row: Mapping[str, Any], step: int) -> bool:
    """Whether a line of swift's log is about a step up to `step`; its two lines about the end are not."""
    at = str(row.get("global_step/max_steps", "")).partition("/")[0]
    return at.isdecimal() and int(at) <= step and "train_runtime" not in row


def join(folder: Path) -> Path:
    """Write rewards.jsonl out of the parts of all processes, ordered by step, sample and completion.

    Which process judged a completion, and in which order, therefore cannot be seen in the file; a group may
    even be spread over several processes.
    """
    parts = sorted(folder.glob(PART.format(rank="*")))
    rows = [json.loads(line) for part in parts for line in _whole_lines(part)]
    rows.sort(key=lambda row: (row["step"], str(row["id"]), str(row["task"]), row["completion"], str(row)))
    # swift's prompt_id goes by the text alone, and two images under one question would share it.
    seen: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        asked = row["step"], row["id"], row["task"]
        row["generation"] = seen[asked]
        seen[asked] += 1
    return _replace(folder / WHOLE, [json.dumps(row, ensure_ascii=False) + "\n" for row in rows])


def _whole_lines(path: Path) -> Iterable[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield line


def _replace(path: Path, lines: Iterable[str]) -> Path:
    partial = path.with_suffix(".partial")
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(path)
    return path

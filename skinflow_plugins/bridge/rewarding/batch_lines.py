"""The lines of rewards.jsonl for one batch: every component of every completion, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.bridge.rewarding.columns import unpack
from skinflow_plugins.declare import Score
from skinflow_plugins.rewards.composition import BatchScores, Judged
from skinflow_plugins.rewards.guard import Missing


def local_lines(
    scores: BatchScores, completions: Sequence[str], kwargs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What this process knows of each completion; what needs the whole batch comes later."""
    columns, _ = unpack(completions, kwargs)
    nobody = [None] * len(completions)
    ids, tasks = columns.get("id", nobody), columns.get("task", nobody)
    tokens = kwargs.get("response_token_ids") or nobody
    lines = []
    for row, completion in enumerate(completions):
        line: dict[str, Any] = {"id": ids[row], "task": tasks[row], "completion": completion}
        length = _tokens(tokens[row], completion)
        if length is not None:
            line["tokens"] = length
        judged = {key: entries[row] for key, entries in scores.judged.items()}
        lines.append(line | _words({key: each for key, each in judged.items() if each is not None}))
    return lines


def _words(judged: Mapping[str, Judged]) -> dict[str, Any]:
    """Why each component scored as it did; what was gated, what is missing, and further figures."""
    scores = {key: each.outcome for key, each in judged.items() if isinstance(each.outcome, Score)}
    missing = {key: each.outcome for key, each in judged.items() if isinstance(each.outcome, Missing)}
    found: dict[str, Any] = {
        "why": {key: str(score.why) for key, score in scores.items() if score.why},
        "gated": {key: score.value for key, score in scores.items() if judged[key].gated},
        "missing": {key: outcome.why for key, outcome in missing.items()},
        "failed": [key for key, outcome in missing.items() if outcome.failed],
        "marks": {key: dict(score.marks) for key, score in scores.items() if score.marks},
    }
    return {name: part for name, part in found.items() if part}


def _tokens(ids: Any, completion: str) -> int | None:
    """The length of a completion in tokens; swift holds one list of ids, or one for each turn.

    Where swift keeps no ids the list is empty, and the length of what is not empty is unknown.
    """
    if not isinstance(ids, Sequence) or (completion and not ids):
        return None
    return sum(len(each) if isinstance(each, Sequence) else 1 for each in ids)


def global_lines(
    lines: Sequence[Mapping[str, Any]],
    values: Sequence[Sequence[float | None]],
    keys: Sequence[str],
    weights: Mapping[str, float],
    step: int,
    groups: Sequence[int],
    batch: int = 0,
) -> list[dict[str, Any]]:
    """Whole lines: with the values that are trained on, (n, k) by `keys`, and the total under `weights`.

    `batch` is the number of the batch within its step; a first one, mostly the only one, does not say it.
    """
    found = []
    for line, row, group in zip(lines, values, groups, strict=True):
        given = {key: round(value, 6) for key, value in zip(keys, row, strict=True) if value is not None}
        total = sum(weights[key] * value for key, value in given.items())
        head = {"step": step, "id": line["id"], "task": line["task"], "group": group, **batch_mark(batch)}
        rest = {name: part for name, part in line.items() if name not in head}
        found.append({**head, **rest, "rewards": given, "total": round(total, 6)})
    return found


def batch_mark(batch: int) -> dict[str, int]:
    """What a line says of the batch within its step."""
    return {"batch": batch} if batch else {}

"""Answers put to the rewards of a stage, and the lines that are written about them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.cli.score_plan import ScoredStage
from skinflow_plugins.cli.score_records import Row
from skinflow_plugins.declare import Score
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.rewards.composition import Component, Judged, score_batch
from skinflow_plugins.rewards.guard import Missing

STEP = 1  # the first optimizer step: schedules have not begun
BATCH = 256
FEWEST = 50  # answers that a share of failures is at least taken of, as in a run
FAILURE_SHARE = 0.2  # of a reward without a judge; a judge has its own


@dataclass(frozen=True)
class Scores:
    """What the rewards of a stage say of n answers: an entry for each answer, by the reward's key."""

    stage: ScoredStage
    rows: Sequence[Row]
    judged: Mapping[str, Sequence[Judged]]
    totals: Sequence[float]

    def values(self, component: Component) -> list[float | None]:
        """What counts of a reward, (n,); None where it has no score."""
        return [each.value for each in self.judged[component.key]]

    @property
    def whole_totals(self) -> list[float | None]:
        """The totals, (n,); None where a reward has no score, because such a total compares with no other."""
        without = {n for each in self.judged.values() for n, one in enumerate(each) if one.value is None}
        return [None if n in without else total for n, total in enumerate(self.totals)]


def score_stage(stage: ScoredStage, rows: Sequence[Row]) -> Scores:
    """The stage's rewards on all rows; `WorkFailed` when one could not judge more than a run would bear."""
    judged: dict[str, list[Judged]] = {each.key: [] for each in stage.components}
    totals: list[float] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        columns = _columns(stage, [row.sample for row in batch])
        found = score_batch(stage.components, [row.answer for row in batch], columns)
        for key, entries in found.judged.items():
            judged[key] += [each for each in entries if each is not None]
        totals += found.totals(STEP)
        _check_failures(stage, judged)
    return Scores(stage, rows, judged, totals)


def _columns(stage: ScoredStage, samples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The columns as a run has them: the sample's own, and whose task it is."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    columns = {name: [sample.get(name) for sample in samples] for name in names}
    return {**columns, "task": [stage.task] * len(samples), "stage": [stage.name] * len(samples)}


def _check_failures(stage: ScoredStage, judged: Mapping[str, Sequence[Judged]]) -> None:
    for component in stage.components:
        entries = judged[component.key]
        failed = failures(entries)
        settings = component.options.get("judge")
        share = (
            settings.get("failure_share", FAILURE_SHARE) if isinstance(settings, Mapping) else FAILURE_SHARE
        )
        if failed.total() > share * max(len(entries), FEWEST) or (failed and failed.total() == len(entries)):
            raise WorkFailed(
                f"the reward {component.reward.name!r} could not judge {failed.total()} of {len(entries)} "
                f"answers, and {share:.0%} may fail, as in a run; most often: {failed.most_common(1)[0][0]}\n"
                "    --no-judge leaves out the rewards that ask a judge"
            )


def failures(entries: Sequence[Judged]) -> Counter[str]:
    """Why a reward failed on answers, each reason with how often."""
    return Counter(
        each.outcome.why for each in entries if isinstance(each.outcome, Missing) and each.outcome.failed
    )


def lines(scores: Scores) -> list[dict[str, Any]]:
    """One line for each answer, as rewards.jsonl has them, with what the answer is."""
    found = []
    for n, row in enumerate(scores.rows):
        entries = {key: each[n] for key, each in scores.judged.items()}
        line: dict[str, Any] = {
            "id": row.sample.get("id"),
            "stage": scores.stage.name,
            "task": scores.stage.task,
            "kind": row.canned.kind if row.canned else None,
            "name": row.canned.name if row.canned else None,
            "answer": row.answer,
            "rewards": {key: each.value for key, each in entries.items() if each.value is not None},
            "total": round(scores.totals[n], 6),
            "why": {key: each.outcome.why for key, each in entries.items() if each.outcome.why},
            "gated": {
                key: each.outcome.value
                for key, each in entries.items()
                if each.gated and isinstance(each.outcome, Score)
            },
            "missing": {
                key: each.outcome.why for key, each in entries.items() if not isinstance(each.outcome, Score)
            },
            "failed": [key for key, each in entries.items() if getattr(each.outcome, "failed", False)],
        }
        found.append({key: value for key, value in line.items() if value not in (None, {}, [])})
    return found


def write_lines(file: Path, scored: Sequence[Scores]) -> None:
    """Write the lines of all stages, whole or not at all; `WorkFailed` where that cannot be."""
    # Half of a surrogate pair is no UTF-8, so everything outside ASCII is written as an escape.
    text = "".join(json.dumps(line) + "\n" for scores in scored for line in lines(scores))
    partial = file.with_name(file.name + ".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise WorkFailed(f"{file}: cannot be written: {error.strerror or error}") from error

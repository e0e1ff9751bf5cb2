"""All rewards of a stage on one batch: who judges what, which gates are closed, and what it adds up to.

Training, `skinflow score` and the tests go through here, so what is tried is what trains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skinflow_plugins.declare import Reward, Score
from skinflow_plugins.rewards import background
from skinflow_plugins.rewards.calling import outcomes
from skinflow_plugins.rewards.guard import Missing, Outcome
from skinflow_plugins.rewards.schedule import Schedule, weight_at


@dataclass(frozen=True, slots=True)
class RewardGate:
    """A reward counts only where another one, named by its key, reaches `at_least`."""

    key: str
    at_least: float


@dataclass(frozen=True)
class Component:
    """One reward within a stage. `key` is its name in the logs, and no other component of the batch has it.

    `stage` says whose rows it judges, "" all of them.
    """

    key: str
    reward: Reward
    options: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    stage: str = ""
    gate: RewardGate | None = None
    schedule: Schedule | None = None
    deadline: float | None = None

    def weight_at(self, step: int) -> float:
        """The weight in optimizer step `step`, from 1."""
        return weight_at(self.weight, self.schedule, step)


@dataclass(frozen=True, slots=True)
class Judged:
    """What one component says of one answer.

    `value` is what counts: that of the outcome, the reward's lowest where its gate is closed (`gated`), None
    where there is no score.
    """

    value: float | None
    outcome: Outcome
    gated: bool = False


@dataclass(frozen=True)
class BatchScores:
    """The components of a batch of n answers: for each key n entries, None where it judges no row."""

    components: tuple[Component, ...]
    judged: Mapping[str, Sequence[Judged | None]]

    def values(self, key: str) -> list[float | None]:
        """What counts of a component, (n,); None where it does not judge the row, or has no score."""
        return [None if each is None else each.value for each in self.judged[key]]

    def totals(self, step: int) -> list[float]:
        """The weighted sum of each answer, (n,), in optimizer step `step`; what is missing adds nothing."""
        weights = {each.key: each.weight_at(step) for each in self.components}
        columns = [(weights[key], self.values(key)) for key in weights]
        rows = len(columns[0][1]) if columns else 0
        return [sum(w * (values[row] or 0.0) for w, values in columns) for row in range(rows)]


def score_batch(
    components: Sequence[Component],
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    *,
    stages: Sequence[str] | None = None,
) -> BatchScores:
    """`ascore_batch` from outside of any event loop."""
    return background.run(ascore_batch(components, answers, columns, stages=stages))


async def ascore_batch(
    components: Sequence[Component],
    answers: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    *,
    stages: Sequence[str] | None = None,
) -> BatchScores:
    """Every component on its rows of a batch; those that wait for a judge wait together.

    `columns` holds one value per answer in each column, and `stages` the stage of each answer (None: every
    component judges every row). A component that judges no row is not called, and one that asks a judge is
    not called for rows whose gate is closed. Raises `RewardError`.
    """
    rows = {
        each.key: [
            row
            for row in range(len(answers))
            if not each.stage or stages is None or stages[row] == each.stage
        ]
        for each in components
    }

    turn = asyncio.Lock()

    async def judge(component: Component) -> list[Judged | None]:
        entries: list[Judged | None] = [None] * len(answers)
        mine = rows[component.key]
        gate = None
        if component.gate is not None and _asks(component):
            # A call that cannot matter is not made: the gate speaks first.
            gate = await tasks[component.gate.key]
            closed = [row for row in mine if _is_closed(component.gate, gate[row])]
            why = f"not asked: its gate {component.gate.key} is closed"
            for row in closed:
                low = component.reward.low
                entries[row] = Judged(low, Score(low, why=why), gated=True)
            mine = [row for row in mine if entries[row] is None]
        for row, outcome in zip(mine, await outcomes_of(component, mine), strict=True):
            entries[row] = Judged(outcome.value if isinstance(outcome, Score) else None, outcome)
        if component.gate is not None:
            _close(component, entries, await tasks[component.gate.key] if gate is None else gate)
        return entries

    async def outcomes_of(component: Component, mine: Sequence[int]) -> list[Outcome]:
        if not mine:
            return []
        everything = len(mine) == len(answers)
        return await outcomes(
            component.reward,
            answers if everything else [answers[row] for row in mine],
            columns if everything else {name: [of[row] for row in mine] for name, of in columns.items()},
            component.options,
            deadline=component.deadline,
            turn=turn,
        )

    tasks: dict[str, asyncio.Task[list[Judged | None]]] = {}
    for component in in_order(components):
        tasks[component.key] = asyncio.create_task(judge(component))
    try:
        judged = dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
    finally:
        for task in tasks.values():  # after a failure nobody waits for the others
            task.cancel()
    return BatchScores(tuple(components), {each.key: judged[each.key] for each in components})


def _asks(component: Component) -> bool:
    """Whether judging a row may cost a call."""
    return component.reward.is_async or component.options.get("judge") is not None


def _is_closed(gate: RewardGate, entry: Judged | None) -> bool:
    return entry is not None and entry.value is not None and entry.value < gate.at_least


def _close(component: Component, entries: list[Judged | None], gate: Sequence[Judged | None]) -> None:
    """Apply a gate: below its threshold the lowest value, and nothing where the gate itself has no score.

    Behind a closed gate the lowest value is due whatever the component would have said, so a judge that
    failed there takes nothing away. A component that has no judgement by choice keeps it.
    """
    assert component.gate is not None
    for row, (entry, other) in enumerate(zip(entries, gate, strict=True)):
        if entry is None or other is None or not (isinstance(entry.outcome, Score) or entry.outcome.failed):
            continue
        if other.value is None:
            if entry.value is None:
                continue
            missing = other.outcome
            why = f"its gate {component.gate.key} has no score: {missing.why}"
            failed = isinstance(missing, Missing) and missing.failed
            entries[row] = Judged(None, Missing(why, failed=failed))
        elif other.value < component.gate.at_least:
            low, outcome = component.reward.low, entry.outcome
            if isinstance(outcome, Missing):
                outcome = Score(low, why=f"its gate {component.gate.key} is closed, and {outcome.why}")
            entries[row] = Judged(low, outcome, gated=True)


def in_order(components: Sequence[Component]) -> list[Component]:
    """The components so that each comes after its gate; `ValueError` for gates that lead in a circle."""
    left, ordered = list(components), []
    done: set[str] = set()
    while left:
        ready = [each for each in left if each.gate is None or each.gate.key in done]
        if not ready:
            names = ", ".join(each.key for each in left)
            raise ValueError(f"gates lead in a circle, or to a reward that is not there: {names}")
        ordered += ready
        done |= {each.key for each in ready}
        left = [each for each in left if each not in ready]
    return ordered

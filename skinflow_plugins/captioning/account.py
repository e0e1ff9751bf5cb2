"""What came of a captioning, in numbers that add up to the rows of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from skinflow_plugins.captioning.recovery import passes
from skinflow_plugins.captioning.rows import Row, Rows
from skinflow_plugins.captioning.tries import OUTCOMES, History
from skinflow_plugins.diagnosis.taxonomy import Taxonomy

UNKNOWN = "(not known)"
WHO = ("captioner", "judge")


def account(
    read: Rows,
    pasts: Mapping[str, History],
    most: int,
    taxonomy: Taxonomy,
    events: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """The report as plain values.

    `rows`: every row of the input in one of accepted, review, failed, waiting and left_out. `accepted_at`: by
    the try that passed, from 1. `recovered`: accepted rows among those with a verdict, None without any; an
    expert's decisions do not count in it. `by_chance` is what it would be if the captions were those of other
    images (see `chances`). `groups`: the same by diagnosis and by skin tone. `outcomes`: all tries by what
    came of them. `usage`: calls and tokens over all runs of the command, kept answers apart.
    """
    chance = chances(read.rows, pasts, most, taxonomy)
    status = {row.id: _status(pasts.get(row.id), most) for row in read.rows}
    counts = Counter(status.values())
    accepted, review = counts["accepted"], counts["review"]
    histories = [pasts[row.id] for row in read.rows if row.id in pasts]
    at = Counter(taken.number for history in histories if (taken := history.accepted))
    decided = Counter(history.decision.word for history in histories if history.decision)
    attempts = [attempt for history in histories for attempt in history.attempts]
    outcomes = Counter(attempt.outcome for attempt in attempts)
    failures = Counter(f"{a.failure.asked}: {a.failure.kind}" for a in attempts if a.failure)
    rows = {"input": len(read)} | {s: counts[s] for s in ("accepted", "review", "failed", "waiting")}
    return {
        "rows": rows | {"left_out": len(read.left_out)},
        "left_out": dict(Counter(each.reason for each in read.left_out)),
        "accepted_at": {str(number): at[number] for number in range(1, most + 1)},
        "recovered": accepted / (accepted + review) if accepted + review else None,
        "by_chance": _mean(chance.values()),
        "review": {
            "accept": decided["accept"],
            "drop": decided["drop"],
            "undecided": review - decided.total(),
        },
        "captions": accepted + decided["accept"],
        "outcomes": {outcome: outcomes[outcome] for outcome in OUTCOMES},
        "repeated": sum(_repeated(history) for history in histories),
        "failures": dict(sorted(failures.items())),
        "groups": {
            "diagnosis": _groups(read.rows, status, pasts, chance, lambda row: row.diagnosis),
            "skin_tone": _groups(read.rows, status, pasts, chance, lambda row: row.skin_tone or UNKNOWN),
        },
        "usage": usage(events),
    }


def _status(history: History | None, most: int) -> str:
    return history.status(most) if history is not None and history.attempts else "waiting"


def _repeated(history: History) -> int:
    """Tries whose caption had been rejected before in the same words."""
    captions = [sorted((k, *sorted(v)) for k, v in (each.caption or {}).items()) for each in history.tries]
    return sum(caption in captions[:place] for place, caption in enumerate(captions))


def _groups(
    rows: Sequence[Row],
    status: Mapping[str, str],
    pasts: Mapping[str, History],
    chance: Mapping[str, float],
    value: Callable[[Row], str],
) -> list[dict[str, Any]]:
    """Counts by group, those of which least is accepted first; groups without a verdict come last."""
    found: dict[str, Counter[str]] = {}
    luck: dict[str, list[float]] = {}
    for row in rows:
        luck.setdefault(value(row), []).extend([chance[row.id]] if row.id in chance else [])
        counts = found.setdefault(value(row), Counter())
        counts[status[row.id]] += 1
        history = pasts.get(row.id)
        counts["expert"] += bool(history and history.decision and history.decision.word == "accept")
    groups = []
    for name, counts in found.items():
        judged = counts["accepted"] + counts["review"]
        groups.append(
            {
                "name": name,
                "rows": sum(counts[s] for s in ("accepted", "review", "failed", "waiting")),
                **{s: counts[s] for s in ("accepted", "review", "failed", "waiting", "expert")},
                "recovered": counts["accepted"] / judged if judged else None,
                "by_chance": _mean(luck[name]),
            }
        )
    return sorted(
        groups, key=lambda g: (g["recovered"] is None, g["recovered"] or 0.0, -g["rows"], g["name"])
    )


def chances(
    rows: Sequence[Row], pasts: Mapping[str, History], most: int, taxonomy: Taxonomy
) -> dict[str, float]:
    """Row -> how likely `most` captions of other images would have passed for this row's diagnosis.

    Taken from what the judge named from the first captions of all other rows. Where it is high, a caption
    that passed says little: few diagnoses and many tries let anything through. Rows without a verdict are
    absent.
    """
    first = {row.id: pasts[row.id].tries[0] for row in rows if row.id in pasts and pasts[row.id].tries}
    said = Counter(attempt.said for attempt in first.values())
    hits: dict[str, int] = {}
    for diagnosis in {row.diagnosis for row in rows if row.id in first}:
        hits[diagnosis] = sum(n for runs, n in said.items() if passes(runs, diagnosis, taxonomy))
    found = {}
    for row in rows:
        if row.id in first and len(first) > 1:
            own = passes(first[row.id].said, row.diagnosis, taxonomy)
            found[row.id] = 1 - (1 - (hits[row.diagnosis] - own) / (len(first) - 1)) ** most
    return found


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def usage(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Calls, cached answers, tokens and cost of captioner and judge, summed over the runs of the command.

    Each run notes its own sums again and again; the last note of a run counts. A run that was killed may have
    made a few calls since.
    """
    last: dict[int, Mapping[str, Any]] = {}
    for event in events:
        if event["event"] == "usage":
            last[event["run"]] = event
    total: dict[str, dict[str, Any]] = {}
    for who in WHO:
        sums: dict[str, Any] = {}
        for event in last.values():
            for name, value in event.get(who, {}).items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    sums[name] = sums.get(name, 0) + value
        total[who] = sums
    return total


def dropped(report: Mapping[str, Any]) -> list[str]:
    """Diagnoses with verdicts and no caption at all: Stage I would never see them."""
    return [
        group["name"]
        for group in report["groups"]["diagnosis"]
        if group["review"] and not group["accepted"] and not group["expert"]
    ]

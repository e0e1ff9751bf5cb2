"""What `skinflow score` prints of canned answers: order, and what gaming pays."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from skinflow_plugins.cli.score_rows import STEP, Scores
from skinflow_plugins.cli.score_text import (
    TOTAL,
    head,
    number,
    percent,
    ranges,
    remarks,
    short,
    visible,
    whys,
)
from skinflow_plugins.cli.table import columns
from skinflow_plugins.rewards.canned import (
    KINDS,
    Gain,
    Scored,
    Violation,
    above_half,
    gains,
    means_by_kind,
    violations,
)
from skinflow_plugins.rewards.canned.findings import HALF

SHOWN = 5  # attacks and violations that are shown


def canned_text(scores: Scores) -> tuple[str, int]:
    """The report on canned answers; and how many violations and attacks above half there are."""
    judged = list(_judgements(scores))
    order = list(_order(scores, {name: violations(some) for name, some, _ in judged}))
    attacks, halves = _attacks(scores, {name: gained for name, _, gained in judged})
    parts = [head(scores), _kinds(scores), ranges(scores), *remarks(scores), "\n".join(order)]
    parts.append("\n".join(attacks))
    violated = sum(line.startswith("  ") and line[2] != " " for line in order)
    return "\n\n".join(part for part in parts if part), violated + halves


def _kinds(scores: Scores) -> str:
    """The mean of every reward for every kind of answer."""
    rows: list[Sequence[str]] = [("mean", "weight", *map(_spoken, KINDS))]
    for component in scores.stage.components:
        means = means_by_kind(_scored(scores, scores.values(component)))
        rows.append((component.reward.name, f"{component.weight_at(STEP):g}", *_cells(means)))
    rows.append((TOTAL, "", *_cells(means_by_kind(_scored(scores, scores.whole_totals)))))
    counts = {
        kind: sum(row.canned is not None and row.canned.kind == kind for row in scores.rows) for kind in KINDS
    }
    rows.append(("answers", "", *(str(counts[kind]) for kind in KINDS)))
    return columns(rows)


def _cells(means: Mapping[str, float]) -> Iterator[str]:
    return (number(means.get(kind)) for kind in KINDS)


def _scored(scores: Scores, values: Sequence[float | None]) -> list[Scored]:
    return [
        Scored(str(row.number), row.canned, value, n)
        for n, (row, value) in enumerate(zip(scores.rows, values, strict=True))
        if row.canned is not None and value is not None
    ]


def _judgements(scores: Scores) -> Iterator[tuple[str, list[Scored], list[Gain]]]:
    """(name, scored answers, gains) of the total, then of every reward that is about content.

    A reward that never goes above 0 is a penalty, which many a wrong answer escapes: only the total tells
    whether it does its work. Of a reward with a negative weight less is better. What nothing is worth is the
    lowest value that any answer got, since a reward may never reach the lowest that it declares.
    """
    total = _scored(scores, scores.whole_totals)
    yield TOTAL, total, gains(total, _lowest(total))
    for component in scores.stage.components:
        if not component.reward.content or component.reward.high <= 0:
            continue
        sign = -1.0 if component.weight_at(STEP) < 0 else 1.0
        values = [None if value is None else sign * value for value in scores.values(component)]
        some = _scored(scores, values)
        yield component.reward.name, some, gains(some, _lowest(some))


def _lowest(scored: Sequence[Scored]) -> float:
    return min((each.value for each in scored), default=0.0)


def _order(scores: Scores, found: Mapping[str, Sequence[Violation]]) -> Iterator[str]:
    """Worse answers that earn more, each once with all that it is true of."""
    joined: dict[tuple[str, str, str], dict[str, Violation]] = {}
    for name, some in found.items():
        for each in some:
            canned = each.worst.canned
            joined.setdefault((canned.kind, canned.name, each.kind), {})[name] = each
    if not joined:
        yield "order: no worse answer scores higher than a better one"
        return
    yield "order: worse answers that score higher than the best of a better kind"
    rows = sorted(joined.values(), key=_margin)
    for by_name in rows[:SHOWN]:
        each = next(iter(by_name.values()))
        worst, best = each.worst, each.best
        many = f"in {each.samples} record{'s' if each.samples > 1 else ''}"
        where = many if each.mean is None else f"by a mean of {number(each.mean)}"
        yield f"  {_called(worst)} above the best {_spoken(each.kind)} answer {where}: {', '.join(by_name)}"
        who, values = (
            visible(scores.rows[worst.row].sample.get("id")),
            (number(worst.value), number(best.value)),
        )
        yield f"    {who}: {values[0]} against {values[1]} for {_called(best)}"
        yield f"    {short(scores.rows[worst.row].answer)}"
        yield from whys(scores, worst.row, "    ")
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more"


def _margin(by_name: Mapping[str, Violation]) -> float:
    return min(each.best.value - each.worst.value for each in by_name.values())


def _attacks(scores: Scores, gained: Mapping[str, Sequence[Gain]]) -> tuple[list[str], int]:
    """Lines about what gaming earns; and how many attacks reach half."""
    if not gained[TOTAL]:
        return ["gaming: the good answers earn no more than the lowest total, so nothing can be said"], 0
    lines = ["gaming: what pays most, as a share of what the best good answer earns"]
    for gain in gained[TOTAL][:SHOWN]:
        lines.append(f"  {percent(gain.share)}  {_called(gain.worst)}")
        lines.append(f"    {short(scores.rows[gain.worst.row].answer)}")
        lines += whys(scores, gain.worst.row, "    ")
    many: dict[str, dict[str, Gain]] = {}
    for name, each in gained.items():
        for gain in above_half(each):
            many.setdefault(gain.worst.canned.name, {})[name] = gain
    if not many:
        return [*lines, "no gaming answer reaches half, in the total or in a reward of content"], 0
    lines.append("gaming answers that reach half:")
    frequent = _frequent(scores)
    counted = 0
    for by_name in many.values():
        gain = next(iter(by_name.values()))
        shares = ", ".join(f"{name} {percent(each.share)}" for name, each in by_name.items())
        luck = _luck(gain, by_name, frequent)
        lines.append(f"  {_called(gain.worst)}: {shares}{luck and f' ({luck})'}")
        counted += not luck
        if gain.worst not in [each.worst for each in gained[TOTAL][:SHOWN]]:
            lines.append(f"    {short(scores.rows[gain.worst.row].answer)}")
            lines += whys(scores, gain.worst.row, "    ")
    return lines, counted


def _luck(gain: Gain, by_name: Mapping[str, Gain], frequent: str) -> str:
    """Why a constant answer must reach half, whatever the rewards are; "" where nothing excuses it."""
    if not gain.worst.canned.constant:
        return ""
    return frequent or ("by its form, which is paid to any answer" if list(by_name) == [TOTAL] else "")


def _frequent(scores: Scores) -> str:
    """What luck alone makes right in half of the records or more, in words; "" where nothing is."""
    samples = list({row.number: row.sample for row in scores.rows}.values())
    if scores.stage.target == "ranked_list":
        share = _most_common([str(sample.get("diagnosis")) for sample in samples])
        return f"{percent(share)} of these records have one diagnosis" if share >= HALF else ""
    fields: dict[str, list[str]] = {}
    for sample in samples:
        for name, values in sample["caption"].items():
            fields.setdefault(name, []).append(str(values))
    share = statistics.fmean(map(_most_common, fields.values()))
    return f"{percent(share)} of these captions' values are the most frequent ones" if share >= HALF else ""


def _most_common(values: Sequence[str]) -> float:
    """The share of the most frequent value."""
    return Counter(values).most_common(1)[0][1] / len(values)


def _called(scored: Scored) -> str:
    constant = " (on average)" if scored.canned.constant else ""
    return f"{_spoken(scored.canned.kind)} \u201c{scored.canned.name}\u201d{constant}"


def _spoken(kind: str) -> str:
    return kind.replace("_", "-")

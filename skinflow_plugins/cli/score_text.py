"""What `skinflow score` prints of any stage: its figures, and answers with the rewards' own words."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence

from skinflow_plugins.cli.score_rows import STEP, Scores, failures
from skinflow_plugins.cli.table import columns
from skinflow_plugins.declare import Score
from skinflow_plugins.rewards.composition import Component

EDGE = 1e-6  # values that are nearer than this are the same
WIDTH = 100  # characters of an answer that are shown
TOTAL = "total"


def head(scores: Scores) -> str:
    """Which stage it is, how many answers to how many records, and what is left out."""
    stage = scores.stage
    ids = len({row.number for row in scores.rows})
    lines = [f"stage {stage.name}: task {stage.task}, {len(scores.rows)} answers to {ids} records"]
    return "\n".join([*lines, *stage.left_out])


def ranges(scores: Scores) -> str:
    """What each reward may give, what it gave, and how often it is at an edge or has no score."""
    head = ("range", "declared", "mean", "spread", "least", "most", "at low", "at high", "gated", "no score")
    rows: list[Sequence[str]] = [head]
    for component in scores.stage.components:
        reward, values = component.reward, scores.values(component)
        there = [value for value in values if value is not None]
        entries = scores.judged[component.key]
        rows.append(
            (
                reward.name, f"{reward.low:g} to {reward.high:g}", *_figures(there),
                _share([abs(v - reward.low) <= EDGE for v in there]),
                _share([abs(v - reward.high) <= EDGE for v in there]),
                _share([each.gated for each in entries]),
                _share([value is None for value in values]),
            )
        )  # fmt: skip
    totals = scores.whole_totals
    whole = [total for total in totals if total is not None]
    low, high = limits(scores.stage.components)
    at = [_share([abs(v - edge) <= EDGE for v in whole]) for edge in (low, high)]
    none = _share([total is None for total in totals])
    rows.append((TOTAL, f"{low:g} to {high:g}", *_figures(whole), *at, "", none))
    return columns(rows)


def _figures(values: Sequence[float]) -> list[str]:
    if not values:
        return ["–"] * 4
    spread = statistics.pstdev(values)
    return [number(statistics.fmean(values)), number(spread), number(min(values)), number(max(values))]


def remarks(scores: Scores) -> Iterator[str]:
    """Rewards that could not judge some answers, and those that cannot teach anything here."""
    for component in scores.stage.components:
        failed = failures(scores.judged[component.key])
        if failed:
            yield (
                f"{component.reward.name} could not judge {failed.total()} of {len(scores.rows)} answers, "
                f"which no figure here counts; most often: {_cut(failed.most_common(1)[0][0])}"
            )
        there = [value for value in scores.values(component) if value is not None]
        if there and max(there) - min(there) <= EDGE:
            yield (
                f"{component.reward.name} is constant: every answer gets {number(there[0])}, so it teaches "
                "nothing"
            )


def whys(scores: Scores, row: int, indent: str, only: str | None = None) -> Iterator[str]:
    """What every reward says of one answer."""
    for component in scores.stage.components:
        if only not in (None, component.reward.name):
            continue
        entry = scores.judged[component.key][row]
        value = number(entry.value)
        if entry.gated and isinstance(entry.outcome, Score):
            value += f" (its gate is closed; else {number(entry.outcome.value)})"
        yield f"{indent}{component.reward.name} {value}: {_cut(entry.outcome.why or 'it does not say why')}"


def limits(components: Sequence[Component]) -> tuple[float, float]:
    """The lowest and the highest total."""
    ends = [
        sorted((each.weight_at(STEP) * each.reward.low, each.weight_at(STEP) * each.reward.high))
        for each in components
    ]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def number(value: float | None) -> str:
    """A value with three decimals; a dash where there is none."""
    return "–" if value is None else f"{value + 0.0:.3f}"


def _share(flags: Sequence[bool]) -> str:
    return percent(sum(flags) / len(flags)) if flags and any(flags) else "–"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{share:.0%}"


def short(answer: str) -> str:
    """The beginning of an answer in quotes, with everything unprintable escaped."""
    text = json.dumps(answer[:WIDTH], ensure_ascii=not _plain(answer[:WIDTH]))
    return text if len(answer) <= WIDTH else f'{text[:-1]}..." ({len(answer):,} characters)'


def _plain(text: str) -> bool:
    return text.isprintable()


def visible(text: object) -> str:
    """A text in one line, with everything unprintable escaped: it must not move the cursor of a terminal."""
    line = " ".join(str(text).split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _cut(text: str) -> str:
    line = visible(text)
    return line if len(line) <= 2 * WIDTH else line[: 2 * WIDTH - 3] + "..."

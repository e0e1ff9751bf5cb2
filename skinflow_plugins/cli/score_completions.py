"""What `skinflow score` prints of completions in a file: spread within a group, and examples."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from skinflow_plugins.cli.score_rows import Scores
from skinflow_plugins.cli.score_text import EDGE, TOTAL, head, number, ranges, remarks, short, visible, whys
from skinflow_plugins.cli.table import columns

EXAMPLES = 3


def completions_text(scores: Scores) -> str:
    """The report on completions of a file."""
    if not scores.rows:
        return f"stage {scores.stage.name}: no completions"
    return "\n\n".join(
        part
        for part in [
            head(scores),
            ranges(scores),
            *remarks(scores),
            "\n".join(_groups(scores)),
            "\n".join(_examples(scores)),
        ]
        if part
    )


def _groups(scores: Scores) -> Iterator[str]:
    """How much the answers to one record differ: without a difference there is no gradient.

    A run's log says at which step it asked about a record; asked again later, that is another group.
    """
    groups: dict[tuple[int, str], list[int]] = {}
    for n, row in enumerate(scores.rows):
        groups.setdefault((row.number, str(row.sample.get("step"))), []).append(n)
    several = [rows for rows in groups.values() if len(rows) > 1]
    if not several:
        yield "every record is answered once, so nothing can be said of spread within a group"
        return
    rows: list[Sequence[str]] = [("within a group", "mean spread", "groups without any")]
    named = [(each.reward.name, scores.values(each)) for each in scores.stage.components]
    silent = 0
    for name, values in [*named, (TOTAL, scores.whole_totals)]:
        parts = [[v for n in group if (v := values[n]) is not None] for group in several]
        parts = [part for part in parts if len(part) > 1]
        flat = sum(max(part) - min(part) <= EDGE for part in parts)
        silent = flat if name == TOTAL else silent
        spread = statistics.fmean(map(statistics.pstdev, parts)) if parts else None
        rows.append((name, number(spread), f"{flat} of {len(parts)}"))
    yield columns(rows)
    yield f"{silent} of {len(several)} groups ({silent / len(several):.0%}) would give no gradient"


def _examples(scores: Scores) -> Iterator[str]:
    whole = [n for n, total in enumerate(scores.whole_totals) if total is not None]
    order = sorted(whole, key=lambda n: -scores.totals[n])
    many = min(EXAMPLES, (len(order) + 1) // 2)
    lowest = [n for n in order[len(order) - many :] if n not in order[:many]]
    for title, some in (("highest", order[:many]), ("lowest", lowest)):
        if not some:
            continue
        yield f"{title} totals:"
        for n in some:
            yield f"  {number(scores.totals[n])}  {visible(scores.rows[n].sample.get('id'))}"
            yield f"    {short(scores.rows[n].answer)}"
            yield from whys(scores, n, "    ")

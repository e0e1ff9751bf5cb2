"""Names that are nearly one of ours: a slip would otherwise pass as a column of the user's own."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Sequence

from skinflow_plugins.data.prediction_formats.files import Table
from skinflow_plugins.data.prediction_formats.values import brief
from skinflow_plugins.errors import Problem


def slips(table: Table, known: Sequence[str], chosen: Collection[str] = ()) -> list[Problem]:
    """One problem for each name that is close to a known one which its row lacks, at the first such row.

    Names that the user has `chosen` to stand for something are none.
    """
    seen: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    first: dict[tuple[str, str], int] = {}
    count: Counter[tuple[str, str]] = Counter()
    for line, row in table.rows:
        names = tuple(row)
        if names not in seen:
            seen[names] = [slip for slip in _close(names, known) if slip[0] not in chosen]
        for slip in seen[names]:
            first.setdefault(slip, line)
            count[slip] += 1
    problems = []
    for (name, meant), line in first.items():
        rows = count[name, meant]
        more = f" in {rows:,} rows, of which this is the first" if rows > 1 else ""
        message = f"unknown key {brief(name)}{more}"
        problems.append(Problem(message, str(table.file), line, hint=f"did you mean {meant!r}?"))
    return problems


def _close(names: Sequence[str], known: Sequence[str]) -> list[tuple[str, str]]:
    absent = [one for one in known if one not in names]
    found = []
    for name in names:
        close = difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.8) if name not in known else []
        if close:
            found.append((name, close[0]))
    return found

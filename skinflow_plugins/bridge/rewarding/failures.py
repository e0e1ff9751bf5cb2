"""The point at which failed rows end a run: a judge that is away for long must not train anything."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.errors import WorkFailed

WINDOW = 10
"""Batches over which the share of failed rows is taken; fewer at the start of a run."""
FEWEST = 50
"""Rows that the share is at least taken of, so that one failed call in a small batch ends nothing."""
DEFAULT_SHARE = 0.2


class FailureWatch:
    """Counts rows that a reward could not judge, over the last batches; `shares` is what may fail, by key."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.shares = dict(shares)
        self._batches: deque[tuple[Counter[str], Counter[str]]] = deque(maxlen=WINDOW)

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Count a batch (the lines of all processes); `WorkFailed` when too many of its rows failed."""
        failed: Counter[str] = Counter()
        asked: Counter[str] = Counter()
        words: dict[str, str] = {}
        for line in lines:
            missing = line.get("missing", {})
            asked.update({*line.get("rewards", {}), *missing})
            for key in line.get("failed", ()):
                failed[key] += 1
                words[key] = missing.get(key, "")
        self._batches.append((failed, asked))
        for key in failed:
            lost = sum(batch[0][key] for batch in self._batches)
            rows = sum(batch[1][key] for batch in self._batches)
            most = self.shares.get(key, DEFAULT_SHARE)
            if lost > most * max(rows, FEWEST):
                raise WorkFailed(
                    f"the reward {key} could not judge {lost} of the last {rows} completions, and "
                    f"{most:.0%} may fail; the last reason: {words[key] or 'none given'}. Once that is "
                    "mended, `skinflow run` goes on from the last checkpoint"
                )

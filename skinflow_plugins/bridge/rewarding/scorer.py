"""All rewards of one process on one batch, scored once, whichever of them swift asks first.

swift calls each reward by itself. A gate needs the others' values, and calls of several judge-based rewards
should wait together; so the first one that is called starts all of them, and the others read their part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from skinflow_plugins.bridge.rewarding.columns import unpack
from skinflow_plugins.rewards import background
from skinflow_plugins.rewards.composition import BatchScores, Component, ascore_batch


class Scorer:
    """Scores batches with fixed components; `last` is the newest batch, for whoever comes after swift."""

    def __init__(self, components: Sequence[Component]) -> None:
        self.components = tuple(components)
        self.last: tuple[Sequence[str], Mapping[str, Any], Future[BatchScores]] | None = None
        self._served: set[str] = set()

    def start(self, key: str, completions: Sequence[str], kwargs: Mapping[str, Any]) -> Future[BatchScores]:
        """The scores of the batch as a future; `key` is the component that asks."""
        # swift hands the same list to all rewards of a batch, and asks each of them once.
        if self.last is None or self.last[0] is not completions or key in self._served:
            columns, stages = unpack(completions, kwargs)
            work = ascore_batch(self.components, completions, columns, stages=stages)
            self.last = completions, kwargs, background.submit(work)
            self._served = set()
        self._served.add(key)
        return self.last[2]


_shared: dict[str, Scorer] = {}


def shared_scorer(place: str, components: Sequence[Component]) -> Scorer:
    """The one scorer of a stage within this process; `place` is where the stage writes."""
    found = _shared.get(place)
    if found is None or found.components != tuple(components):
        _shared.clear()  # one stage at a time
        found = _shared[place] = Scorer(components)
    return found


def forget() -> None:
    """Start anew; one process may run several stages."""
    _shared.clear()

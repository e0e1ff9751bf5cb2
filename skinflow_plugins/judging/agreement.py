"""How far verdicts can be trusted: agreement between runs, and between two ways of judging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinflow_plugins.judging.verdicts import NOTHING, VERDICTS, Verdict, encoded

_KINDS = len(VERDICTS)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the runs agree on the items that at least two of them judged.

    `unanimous` is the share of these items on which all their runs agree, in [0, 1]; `kappa` is Fleiss'
    kappa, at most 1, 0 for chance. A figure that is not defined is None, and `why` says so.
    """

    items: int
    unanimous: float | None
    kappa: float | None
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How well two ways of judging agree on the items that both judged.

    `same` is the share of equal verdicts, `kappa` Cohen's kappa. `table` counts items by the first judge's
    verdict (rows) and the second's (columns), in the order of `VERDICTS`; `left_out` counts items that one
    alone judged.
    """

    items: int
    same: float | None
    kappa: float | None
    table: tuple[tuple[int, ...], ...]
    left_out: int = 0
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {**asdict(self), "verdicts": list(VERDICTS), "table": [list(row) for row in self.table]}


def agreement(runs: Sequence[Sequence[Verdict | None]]) -> Agreement:
    """The agreement of several runs over the same items; None, a run that failed on one, has no say there."""
    return agreement_codes(encoded(runs))


def agreement_codes(runs: npt.NDArray[Any]) -> Agreement:
    """The same on codes, (runs, items)."""
    if len(runs) < 2:
        return Agreement(0, None, None, "one run alone has nothing to agree with")
    votes = np.stack([(runs == code).sum(axis=0) for code in range(_KINDS)], axis=-1).astype(np.float64)
    raters = votes.sum(axis=-1)  # (items,)
    votes, raters = votes[raters >= 2], raters[raters >= 2]
    if not len(votes):
        return Agreement(0, None, None, "no item was judged by two runs")
    unanimous = float((votes.max(axis=-1) == raters).mean())
    kappa = fleiss_kappa(votes)
    return Agreement(len(votes), unanimous, kappa, "" if kappa is not None else _ONE_VERDICT)


def fleiss_kappa(votes: npt.NDArray[Any]) -> float | None:
    """Fleiss' kappa of votes counted by item and category, (items, categories), two or more for each item.

    The share of pairs of raters who agree, as a mean over items, corrected by the shares of the categories
    among all votes. Items may have different numbers of raters; with equally many it is the original figure
    (Fleiss 1971). None where all votes are for one category.
    """
    raters = votes.sum(axis=-1)
    pairs = ((votes * votes).sum(axis=-1) - raters) / (raters * (raters - 1))
    shares = votes.sum(axis=0) / votes.sum()
    return _corrected(float(pairs.mean()), float((shares * shares).sum()))


def compare(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Comparison:
    """How well two arrays of codes of one shape agree, where neither is -1."""
    if first.shape != second.shape:
        raise ValueError(
            f"found verdicts of shapes {first.shape} and {second.shape}; expected the same items"
        )
    both = (first != NOTHING) & (second != NOTHING)
    left_out = int(((first != NOTHING) ^ (second != NOTHING)).sum())
    table = np.zeros((_KINDS, _KINDS), np.int64)
    np.add.at(table, (first[both], second[both]), 1)
    counts = tuple(tuple(row) for row in table.tolist())
    total = int(table.sum())
    if not total:
        return Comparison(0, None, None, counts, left_out, "no item was judged by both")
    kappa = _cohen(table)
    why = "" if kappa is not None else _ONE_VERDICT
    return Comparison(total, float(np.trace(table)) / total, kappa, counts, left_out, why)


def cohen_kappa(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float | None:
    """Cohen's kappa of two arrays of codes, in [-1, 1]; None where it is not defined."""
    return compare(first, second).kappa


_ONE_VERDICT = "every verdict is the same, so that chance alone agrees too"


def _cohen(table: npt.NDArray[np.int64]) -> float | None:
    shares = table / table.sum()
    return _corrected(float(np.trace(shares)), float(shares.sum(axis=0) @ shares.sum(axis=1)))


def _corrected(seen: float, by_chance: float) -> float | None:
    if 1.0 - by_chance < 1e-12:
        return None
    return (seen - by_chance) / (1.0 - by_chance)

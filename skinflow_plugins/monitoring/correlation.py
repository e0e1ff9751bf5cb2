"""Rank correlation within groups, pooled: what difficulty, which differs between groups, cannot feign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.monitoring.step import Bools, Floats


@dataclass(frozen=True, slots=True)
class Pooled:
    """Spearman's correlation summed over groups with their weights, so that steps can be added up.

    Each group counts with n - 1, the inverse of the variance of Spearman's correlation under independence.
    """

    weighted: float = 0.0
    weight: float = 0.0
    groups: int = 0

    def __add__(self, other: Pooled) -> Pooled:
        weighted, weight = self.weighted + other.weighted, self.weight + other.weight
        return Pooled(weighted, weight, self.groups + other.groups)

    @property
    def value(self) -> float:
        """The pooled correlation, -1 to 1; 0 where no group has spread in both."""
        return self.weighted / self.weight if self.weight else 0.0

    @property
    def errors(self) -> float:
        """How many standard errors it is from 0, were both independent within the groups."""
        return float(self.value * np.sqrt(self.weight))


def pooled_within(group: NDArray[np.intp], groups: int, one: Floats, other: Floats) -> Pooled:
    """The pooled correlation of two figures; rows without either, and groups without spread, do not count."""
    known: Bools = np.isfinite(one) & np.isfinite(other)
    if not known.any():
        return Pooled()
    group = group[known]
    first, second = (_centred_ranks(group, groups, each[known]) for each in (one, other))

    def summed(values: Floats) -> Any:
        return np.bincount(group, values, groups)

    product = summed(first * second)
    norm = np.sqrt(summed(first**2) * summed(second**2))
    counts = np.bincount(group, minlength=groups)
    counted = norm > 1e-9
    weights = counts[counted] - 1.0
    return Pooled(
        float(np.sum(weights * product[counted] / norm[counted])), float(weights.sum()), int(counted.sum())
    )


def _centred_ranks(group: NDArray[np.intp], groups: int, values: Floats) -> Floats:
    """Ranks within each group, equal values sharing the mean of theirs, minus the group's mean rank."""
    order = np.lexsort((values, group))
    ordered_group, ordered = group[order], values[order]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = (ordered_group[1:] != ordered_group[:-1]) | (ordered[1:] != ordered[:-1])
    starts = np.flatnonzero(fresh)
    ends = np.append(starts[1:], len(order))
    shared = (starts + ends - 1) / 2
    ranks = np.empty(len(order))
    ranks[order] = np.repeat(shared, ends - starts)
    sums = np.bincount(group, ranks, groups)
    counts = np.bincount(group, minlength=groups)
    means = np.divide(sums, counts, out=np.zeros(groups), where=counts > 0)
    found: Floats = ranks - means[group]
    return found

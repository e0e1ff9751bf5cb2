"""A figure as sums over samples: its value, on any weighting of the samples, is a function of weighted sums.

So a bootstrap with any number of resamples is one product of matrices: weights (resamples, n) times columns
(n, c).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Better = Literal["higher", "lower"]
Unit = Literal["share", "edges", "score"]


def quotient(sums: Floats) -> Floats:
    """Sums (..., 2) of numerators and denominators to their ratio (...,); NaN where the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)
    return found


def mean_of_quotients(sums: Floats) -> Floats:
    """Sums (..., 2 m), m numerators and then m denominators, to the mean of the ratios that exist (...,)."""
    half = sums.shape[-1] // 2
    above, below = sums[..., :half], sums[..., half:]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(below > 0, above / below, 0.0)
        found: Floats = ratio.sum(-1) / np.where(below > 0, 1.0, 0.0).sum(-1)
    return found


@dataclass(frozen=True)
class Statistic:
    """One figure: `columns` (n, c), and how their weighted sums (..., c) combine to its value (...,).

    `n` samples have a part in it. `plain` marks a share of independent yes-or-no samples.
    """

    key: str
    title: str
    columns: Floats
    n: int
    combine: Callable[[Floats], Floats] = quotient
    better: Better = "higher"
    unit: Unit = "share"
    plain: bool = False

    def value(self, weights: Floats | None = None) -> float:
        """The value on all samples, or on weighted ones."""
        sums = self.columns.sum(0) if weights is None else weights @ self.columns
        return float(self.combine(np.asarray(sums, dtype=np.float64)))


def share(
    key: str, title: str, hit: NDArray[Any], among: NDArray[np.bool_] | None = None, better: Better = "higher"
) -> Statistic:
    """The share of `hit` (n,) among the samples that count (n,), by default all."""
    counts = np.ones(len(hit), dtype=bool) if among is None else among
    return Statistic(
        key, title, np.stack([hit & counts, counts], 1).astype(np.float64), int(counts.sum()),
        better=better, plain=True,
    )  # fmt: skip


def mean(
    key: str,
    title: str,
    values: NDArray[Any],
    among: NDArray[np.bool_] | None = None,
    *,
    better: Better = "higher",
    unit: Unit = "score",
) -> Statistic:
    """The mean of `values` (n,) over the samples that count (n,), by default all."""
    counts = np.ones(len(values), dtype=bool) if among is None else among
    columns = np.stack([np.where(counts, values, 0.0), counts], 1).astype(np.float64)
    return Statistic(key, title, columns, int(counts.sum()), better=better, unit=unit)


@dataclass(frozen=True)
class Family:
    """Figures that belong together, with one sentence on what they say."""

    key: str
    title: str
    text: str
    statistics: Sequence[Statistic]

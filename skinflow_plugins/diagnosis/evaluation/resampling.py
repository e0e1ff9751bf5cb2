"""Confidence intervals by the bootstrap; whole patients are drawn where patients are known."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.diagnosis.evaluation.statistic import Floats, Statistic

LEVEL = 0.95
AT_ONCE = 4_000_000  # weights in memory; a few tens of MB

Interval = tuple[float | None, float | None]


def clusters_of(groups: Sequence[Hashable | None]) -> NDArray[np.int64] | None:
    """(n,) numbers of the samples' patients; a sample without one is its own. None where nobody has any."""
    if all(group is None for group in groups):
        return None
    names: dict[Hashable, int] = {}
    return np.array(
        [
            names.setdefault(("alone", i) if group is None else ("group", group), len(names))
            for i, group in enumerate(groups)
        ]
    )


def resamples(n: int, clusters: NDArray[np.int64] | None, draws: int, seed: int) -> Iterator[Floats]:
    """Weights (b, n) of bootstrap samples, in batches that add up to `draws` rows."""
    random = np.random.default_rng(seed)
    units = n if clusters is None else int(clusters.max()) + 1
    batch = max(1, min(draws, AT_ONCE // max(n, 1)))
    for start in range(0, draws, batch):
        size = min(batch, draws - start)
        drawn = random.integers(0, units, (size, units)) + units * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        yield (counts if clusters is None else counts[:, clusters]).astype(np.float32)


def intervals(
    statistics: Sequence[Statistic],
    clusters: NDArray[np.int64] | None,
    draws: int,
    seed: int,
) -> list[Interval]:
    """A percentile interval of each statistic at `LEVEL`; (None, None) where it has no value.

    All statistics have the same samples. Where every resample gives a plain share the same 0 or 1, the
    bootstrap would claim certainty; there Wilson's interval stands in, each patient one case. Any other
    figure on which all resamples agree, and all figures of one single patient, have no interval.
    """
    if not statistics or draws < 1 or not len(statistics[0].columns):
        return [(None, None)] * len(statistics)
    n = len(statistics[0].columns)
    columns = np.concatenate([each.columns for each in statistics], axis=1)
    # Only few distinct columns are not 0 everywhere, and float32 sums of counts are exact up to 2**24.
    columns = columns.astype(np.float32)
    ends = np.cumsum([each.columns.shape[1] for each in statistics])
    found: list[list[Floats]] = [[] for _ in statistics]
    for weights in resamples(n, clusters, draws, seed):
        sums = (weights @ columns).astype(np.float64)
        for i, each in enumerate(statistics):
            found[i].append(each.combine(sums[:, ends[i] - each.columns.shape[1] : ends[i]]))
    tail = 100 * (1 - LEVEL) / 2
    bounds: list[Interval] = []
    for each, parts in zip(statistics, found, strict=True):
        values = np.concatenate(parts)
        values = values[np.isfinite(values)]
        value = each.value()
        few = clusters is not None and clusters.max() == 0  # one patient says nothing of others
        if not len(values) or not np.isfinite(value) or few:
            bounds.append((None, None))
        elif each.plain and value in (0.0, 1.0):
            counted = each.columns[:, 1] > 0
            cases = int(counted.sum()) if clusters is None else len(np.unique(clusters[counted]))
            bounds.append(_wilson(value, cases))
        else:
            low, high = np.percentile(values, [tail, 100 - tail])
            # Where all resamples agree, the samples are too few or too alike for an interval.
            bounds.append((float(low), float(high)) if low < high else (None, None))
    return bounds


def _wilson(share: float, n: int) -> Interval:
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if share == 0 else middle - half), (1.0 if share == 1 else middle + half)

"""How credit falls with the rank of the right diagnosis."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Literal, get_args

from skinflow_plugins.errors import nearest

Decay = Literal["reciprocal", "linear", "exponential"]
DEFAULT_RATE = 0.5


def credit_by_rank(
    list_length: int,
    decay: Decay = "reciprocal",
    rate: float | None = None,
    by_rank: Sequence[float] | None = None,
) -> tuple[float, ...]:
    """The credit at each of the `list_length` ranks, in [0, 1] and never rising.

    At rank r of L: `reciprocal` 1/r, `linear` (L - r + 1)/L, `exponential` rate^(r - 1) with a rate above 0
    and below 1, 0.5 unless given; or the table `by_rank`, which is 0 past its end. Raises `ValueError` for
    options that make no sense, or that contradict each other.
    """
    return _credit(list_length, decay, rate, None if by_rank is None else tuple(by_rank))


@functools.lru_cache(maxsize=256)
def _credit(
    list_length: int, decay: str, rate: float | None, by_rank: tuple[float, ...] | None
) -> tuple[float, ...]:
    if list_length < 1:
        raise ValueError(f"option list_length must be at least 1, found {list_length}")
    if decay not in get_args(Decay):
        raise ValueError(f"option decay is {decay!r}; {nearest(str(decay), get_args(Decay))}")
    if rate is not None and (decay != "exponential" or by_rank is not None):
        raise ValueError("option rate belongs to decay: exponential; leave it out, or set that decay")
    ranks = range(1, list_length + 1)
    if by_rank is not None:
        if decay != "reciprocal":
            raise ValueError(f"options by_rank and decay: {decay} contradict each other; give one of them")
        return _table(by_rank, list_length)
    if decay == "reciprocal":
        return tuple(1 / rank for rank in ranks)
    if decay == "linear":
        return tuple((list_length - rank + 1) / list_length for rank in ranks)
    rate = DEFAULT_RATE if rate is None else float(rate)
    if not 0 < rate < 1:
        raise ValueError(f"option rate must be above 0 and below 1, found {rate:g}")
    return tuple(rate ** (rank - 1) for rank in ranks)


def _table(by_rank: tuple[float, ...], list_length: int) -> tuple[float, ...]:
    credit = tuple(map(float, by_rank))
    falling = all(a >= b for a, b in itertools.pairwise(credit))
    if not (credit and falling and credit[0] <= 1 and credit[-1] >= 0):
        raise ValueError(
            f"option by_rank must be one or more values in [0, 1] that never rise: {list(credit)}"
        )
    return (credit + (0.0,) * list_length)[:list_length]

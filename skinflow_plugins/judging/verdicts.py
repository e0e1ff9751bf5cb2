"""The verdict of several runs together, and verdicts as arrays of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinflow_plugins.judging.verdict import CODE as CODE
from skinflow_plugins.judging.verdict import NOTHING as NOTHING
from skinflow_plugins.judging.verdict import VERDICTS as VERDICTS
from skinflow_plugins.judging.verdict import Verdict as Verdict

Codes = npt.NDArray[np.int8]

WORST_FIRST = np.array([CODE[verdict] for verdict in ("critical", "wrong", "subtype", "correct")], np.int8)


@dataclass(frozen=True, slots=True)
class Majority:
    """The verdict on each item, None where no run gave one, and how many single verdicts were missing."""

    verdicts: tuple[Verdict | None, ...]
    failures: int


def majority(runs: Sequence[Sequence[Verdict | None]]) -> Majority:
    """What most runs say of each item; `runs` holds one list per run, with the same items in each.

    A run that failed (None) has no vote and is counted. The verdict with the most votes wins, and among
    equals the worse one: critical, then wrong, subtype, correct. So two runs that disagree never make an
    answer right.
    """
    codes = encoded(runs)
    return Majority(decoded(majority_codes(codes)), int((codes == NOTHING).sum()))


def majority_codes(runs: npt.NDArray[Any]) -> Codes:
    """The same on codes: from (runs, ...) to (...); -1 where every run has -1."""
    votes = np.stack([(runs == code).sum(axis=0) for code in WORST_FIRST])
    winner: Codes = WORST_FIRST[votes.argmax(axis=0)]  # argmax takes the first of equals: the worst
    winner[votes.sum(axis=0) == 0] = NOTHING
    return winner


def encoded(runs: Sequence[Sequence[Verdict | None]]) -> Codes:
    """Verdicts as codes, (runs, items), int8; raises `ValueError` when the runs differ in length."""
    if len({len(run) for run in runs}) > 1:
        raise ValueError(f"found runs of {sorted({len(run) for run in runs})} items; expected the same items")
    width = len(runs[0]) if runs else 0
    rows = [[NOTHING if verdict is None else CODE[verdict] for verdict in run] for run in runs]
    return np.array(rows, np.int8).reshape(len(runs), width)


def decoded(codes: npt.NDArray[Any]) -> tuple[Verdict | None, ...]:
    """A row of codes as verdicts, None for -1."""
    return tuple(None if code == NOTHING else VERDICTS[code] for code in codes.tolist())

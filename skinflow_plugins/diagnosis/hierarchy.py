"""Hierarchical precision, recall and F1 of paths of labels (Kiritchenko et al. 2005; Silla and Freitas 2011).

A sample's truth and prediction are sets of nodes: the labels on a path, which starts below the root.
Precision is the share of the predicted nodes that are true, recall the share of the true nodes that are
predicted.

**A node is its whole path from the root**, not its name: its level, its name and the names above it. So the
group "malignant melanoma" is never the diagnosis "malignant melanoma" below it, and "other" among the
tumours is not "other" among the rashes. A right name below a wrong group is a wrong node.

Signature and conventions are those of `hiclass.metrics`, and so are the numbers wherever each name stands
in one place of the tree and every row is a path of the tree. What differs is said at `precision`, `f1` and
`node_counts`.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.errors import nearest

Integers = NDArray[np.int64]
ZeroDivision = float | Literal["warn"]


class UndefinedScoreWarning(UserWarning):
    """A score had nothing to divide by, and was set to 0."""


@dataclass(frozen=True)
class NodeCounts:
    """How many nodes each sample has in common, in truth and in prediction; arrays of shape (samples,)."""

    shared: Integers
    true: Integers
    predicted: Integers


def precision(
    y_true: Any, y_pred: Any, average: str = "micro", zero_division: ZeroDivision = "warn"
) -> float:
    """The share of the predicted nodes that are true, in [0, 1].

    `average` "micro" divides the sums over all samples; "macro" averages the samples' own shares. Rows: see
    `node_counts`. It is undefined where nothing is predicted: by all samples together (micro), by one
    (macro). Then `zero_division` stands in: 0, 1, nan (such a sample is left out of the macro average), or
    "warn", which is 0 with one `UndefinedScoreWarning`. hiclass stops with a ZeroDivisionError there.
    """
    counts = _counts(y_true, y_pred, average, zero_division)
    return _average("Precision", counts.shared, counts.predicted, counts.predicted, average, zero_division)


def recall(y_true: Any, y_pred: Any, average: str = "micro", zero_division: ZeroDivision = "warn") -> float:
    """The share of the true nodes that are predicted, in [0, 1]; undefined where the truth is empty.

    Everything else as in `precision`: recall is the precision of truth and prediction exchanged.
    """
    counts = _counts(y_true, y_pred, average, zero_division)
    return _average("Recall", counts.shared, counts.true, counts.true, average, zero_division)


def f1(y_true: Any, y_pred: Any, average: str = "micro", zero_division: ZeroDivision = "warn") -> float:
    """The harmonic mean of precision and recall, 2 shared / (true + predicted) nodes, in [0, 1].

    Micro: of the micro precision and recall. Macro: the mean of the samples' own. hiclass's convention is
    kept: where NO node is shared F1 is undefined, and `zero_division` stands in; so with 1 a wholly wrong
    answer scores 1. Ask for 0 unless you mean that. 0 works with "macro", and nan leaves samples out of the
    average, as hiclass's documentation says; hiclass itself raises a TypeError for the one and gives nan
    for the other.
    """
    counts = _counts(y_true, y_pred, average, zero_division)
    both = counts.true + counts.predicted
    return _average("F1", 2 * counts.shared, both, counts.shared, average, zero_division)


def node_counts(y_true: Any, y_pred: Any) -> NodeCounts:
    """How many nodes each sample shares, has in truth and has in prediction: what the scores are made of.

    A row is a path of labels, root first; `""` is no node and fills up a shorter path. Both arguments can
    be arrays (samples, levels) or (samples, paths, levels), or lists of paths, which need no filling up, or
    lists of lists of paths. The nodes of several paths are united, and every path counts (hiclass drops
    those beyond the other side's number of paths). Labels are compared by value, so 1 is not "1", and can
    be of any hashable type but None, NaN and bytes. Raises `ValueError` for anything else, with what to do.
    """
    names: dict[Any, int] = {"": 0}
    true, predicted = _read(y_true, "y_true", names), _read(y_pred, "y_pred", names)
    if true.samples != predicted.samples:
        raise ValueError(
            f"y_true has {true.samples} rows and y_pred has {predicted.samples}; give one row per sample in "
            'both, and an empty path ([] or "" in each level) where nothing was predicted'
        )
    if not true.samples:
        raise ValueError("y_true and y_pred are empty: there are no samples to score")
    if true.levels is not None and predicted.levels is not None and true.levels != predicted.levels:
        raise ValueError(
            f"y_true has {true.levels} levels and y_pred has {predicted.levels}; if both begin with the same "
            'level, fill the narrower array up with "" on the right, else add the level that is missing'
        )
    width = max(true.codes.shape[1], predicted.codes.shape[1])
    here, there = _widened(true.codes, width), _widened(predicted.codes, width)
    if true.owner is None and predicted.owner is None:
        return NodeCounts(_common_prefix(here, there), (here > 0).sum(axis=1), (there > 0).sum(axis=1))
    each = np.arange(true.samples)
    owners = [each if paths.owner is None else paths.owner for paths in (true, predicted)]
    return _united(here, there, *owners, samples=true.samples)


def _common_prefix(true: Integers, predicted: Integers) -> Integers:
    """The nodes that two paths share; an empty level keeps them together but is no node."""
    together = np.ones(len(true), dtype=np.bool_)
    shared = np.zeros(len(true), dtype=np.int64)
    for here, there in zip(true.T, predicted.T, strict=True):
        together &= here == there
        shared += together & (here > 0)
    return shared


def _united(
    true: Integers, predicted: Integers, true_owner: Integers, predicted_owner: Integers, *, samples: int
) -> NodeCounts:
    """The counts where a sample may have several paths, each node once."""
    codes, owner = np.concatenate([true, predicted]), np.concatenate([true_owner, predicted_owner])
    is_true = np.arange(len(codes)) < len(true)
    shared, in_true, in_predicted = (np.zeros(samples, dtype=np.int64) for _ in range(3))
    names = int(codes.max(initial=0)) + 1
    prefix, prefixes = np.zeros(len(codes), dtype=np.int64), 1
    for level in codes.T:
        # The number of a path up to this level, from that of the path above it and the name here.
        prefix, prefixes = _renumbered(prefix * names + level, prefixes * names)
        # One sorted key per sample, node and side; a node of both sides stands in two neighbours.
        keys = np.sort(((owner * prefixes + prefix) * 2 + is_true)[level > 0])
        keys = keys[np.diff(keys, prepend=-1) > 0]
        sample, right = keys // (2 * prefixes), keys % 2 == 1
        both = right[1:] & (np.diff(keys) == 1)
        in_true += np.bincount(sample[right], minlength=samples)
        in_predicted += np.bincount(sample[~right], minlength=samples)
        shared += np.bincount(sample[1:][both], minlength=samples)
    return NodeCounts(shared, in_true, in_predicted)


def _renumbered(keys: Integers, bound: int) -> tuple[Integers, int]:
    """The keys, all below `bound`, as numbers from 0 without gaps, and how many there are."""
    if bound > 1_000_000:
        known, numbers = np.unique(keys, return_inverse=True)
        return numbers, len(known)
    seen = np.zeros(bound, dtype=np.bool_)  # several times faster than to sort
    seen[keys] = True
    return (np.cumsum(seen) - 1)[keys], int(seen.sum())


def _counts(y_true: Any, y_pred: Any, average: str, zero_division: ZeroDivision) -> NodeCounts:
    if average not in ("micro", "macro"):
        hint = nearest(str(average), ["micro", "macro"])
        raise ValueError(f"average: expected 'micro' or 'macro', found {average!r}; {hint}")
    known = isinstance(zero_division, int | float) and (zero_division in (0, 1) or math.isnan(zero_division))
    if not known and zero_division != "warn":
        raise ValueError(f"zero_division: expected 'warn', 0, 1 or nan, found {zero_division!r}")
    return node_counts(y_true, y_pred)


def _average(
    name: str, above: Integers, below: Integers, needed: Integers, average: str, zero_division: ZeroDivision
) -> float:
    """The sum over the sum, or the mean of the samples' quotients; undefined where `needed` is 0."""
    if average == "micro":
        above, below, needed = (each.sum(keepdims=True) for each in (above, below, needed))
    undefined = needed == 0
    filling = 0.0 if zero_division == "warn" else float(zero_division)
    scores = np.full(above.shape, filling)
    np.divide(above, below, out=scores, where=~undefined)
    if zero_division == "warn" and undefined.any():
        where = f"in {undefined.sum()} of {undefined.size}" if average == "macro" else "over all"
        warnings.warn(
            f"{name} is undefined {where} samples and was set to 0; choose its value there by "
            "zero_division=0, 1 or nan",
            UndefinedScoreWarning,
            stacklevel=3,
        )
    if math.isnan(filling):
        scores = scores[~undefined]
    return float(scores.mean()) if scores.size else math.nan


# Reading what was given.

_NESTED = frozenset({list, tuple, np.ndarray})


@dataclass(frozen=True)
class _Paths:
    """The paths of one argument; `codes` (paths, levels) are numbers of names, 0 for no name."""

    samples: int
    codes: Integers
    owner: Integers | None
    """(paths,): whose path it is; None where each sample has one."""
    levels: int | None
    """As an array says it; None for lists, which may be ragged."""


def _read(given: Any, side: str, names: dict[Any, int]) -> _Paths:
    """The paths of one argument; new names are added to `names`."""
    if isinstance(given, list | tuple):
        return _read_rows(given, side, names)
    array = np.asarray(given)
    flat = array.ravel().tolist()
    if array.ndim and not _NESTED.isdisjoint(map(type, flat)):  # objects: rows that numpy could not line up
        return _read_rows(array.tolist(), side, names)
    if array.ndim not in (2, 3):
        raise _wrong_shape(side, f"an array of {array.ndim} dimensions" if array.ndim else f"{given!r:.80}")
    samples, levels = len(array), array.shape[-1]
    per_sample = array.shape[1] if array.ndim == 3 else 1
    codes = _numbers(flat, names, side, np.repeat(np.arange(samples), per_sample * levels))
    owner = np.repeat(np.arange(samples), per_sample) if array.ndim == 3 else None
    return _Paths(samples, codes.reshape(samples * per_sample, levels), owner, levels)


def _read_rows(given: Sequence[Any], side: str, names: dict[Any, int]) -> _Paths:
    samples, owner = len(given), None
    rows = _plain(given, side, range(samples))
    flat = list(itertools.chain.from_iterable(rows))
    if not _NESTED.isdisjoint(map(type, flat)):
        several = [[row] if _NESTED.isdisjoint(map(type, row)) else row for row in rows]
        owner = np.repeat(np.arange(samples), [len(each) for each in several])
        rows = _plain(list(itertools.chain.from_iterable(several)), side, owner)
        flat = list(itertools.chain.from_iterable(rows))
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    of_row = np.arange(samples) if owner is None else owner
    codes = np.zeros((len(rows), int(lengths.max(initial=0))), dtype=np.int64)
    filled = np.arange(codes.shape[1]) < lengths[:, None]
    codes[filled] = _numbers(flat, names, side, np.repeat(of_row, lengths))
    return _Paths(samples, codes, owner, None)


def _plain(rows: Sequence[Any], side: str, of_row: Sequence[int] | Integers) -> Sequence[Any]:
    """The rows with arrays turned into lists; `ValueError` for the first row that is no sequence."""
    kinds = set(map(type, rows))
    if not kinds <= _NESTED:
        at = next(i for i, row in enumerate(rows) if type(row) not in _NESTED)
        raise _wrong_shape(side, f"{rows[at]!r:.80} in row {of_row[at]}")
    if np.ndarray not in kinds:
        return rows
    return _plain([row.tolist() if isinstance(row, np.ndarray) else row for row in rows], side, of_row)


def _numbers(flat: list[Any], names: dict[Any, int], side: str, of_label: Integers) -> Integers:
    """One number per label, equal for equal labels; `of_label` says in which row each one stands."""
    try:
        for label in dict.fromkeys(flat):
            if label in names:
                continue
            if label is None or isinstance(label, bytes) or label != label:
                at = next(i for i, each in enumerate(flat) if each is label)
                raise ValueError(
                    f'{side}: {label!r} in row {of_label[at]} is no label; use text or numbers, and "" where '
                    "a path has no such level"
                )
            names[label] = len(names)
    except TypeError:
        at = next(i for i, each in enumerate(flat) if type(each).__hash__ is None)
        raise _wrong_shape(side, f"{flat[at]!r:.80} as a label in row {of_label[at]}") from None
    return np.fromiter(map(names.__getitem__, flat), dtype=np.int64, count=len(flat))


def _widened(codes: Integers, width: int) -> Integers:
    return np.pad(codes, ((0, 0), (0, width - codes.shape[1])))


def _wrong_shape(side: str, found: str) -> ValueError:
    return ValueError(
        f"{side}: found {found}; expected one row per sample, and in each row a path of labels from the top "
        'level down, as in [["tumour", "melanoma"], ["rash"]], or a list of such paths. Labels without '
        'levels are paths of one: [["melanoma"], ["psoriasis"]]'
    )

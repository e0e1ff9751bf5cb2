"""Figures by skin tone, and the gaps between groups. An unknown skin tone is left out and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.diagnosis.evaluation.accuracy import accepted
from skinflow_plugins.diagnosis.evaluation.concept_table import Bools, ConceptTable
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings
from skinflow_plugins.diagnosis.evaluation.resampling import Interval
from skinflow_plugins.diagnosis.evaluation.statistic import Floats, Statistic, quotient, share

MINIMUM = 30  # samples (or positives) of a group, below which it is shown and not compared
PAIRS = {
    "1": "1-2",
    "2": "1-2",
    "3": "3-4",
    "4": "3-4",
    "5": "5-6",
    "6": "5-6",
    "12": "1-2",
    "34": "3-4",
    "56": "5-6",
}
TYPES = ("1", "2", "3", "4", "5", "6")
GROUPINGS = ("by_type", "by_pair")

GAPS = {
    "tpr": "True-positive rate for malignancy",
    "parity": "Demographic parity: share called malignant",
    "odds": "Equalized odds: larger gap of true- and false-positive rate for malignancy",
}


@dataclass(frozen=True)
class Gap:
    """The largest difference of a figure between two groups of a grouping."""

    figure: str
    grouping: str
    title: str
    statistic: Statistic
    groups: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Fairness:
    """Statistics by grouping and group, gaps, and what was refused with the reason."""

    n: Mapping[str, Mapping[str, int]]
    figures: Mapping[str, Mapping[str, Sequence[Statistic]]]
    gaps: Sequence[Gap]
    refused: Sequence[tuple[str, str]]
    unknown: Mapping[str, int]

    def statistics(self) -> list[Statistic]:
        """All statistics, in the order in which `as_dict` wants their intervals."""
        inside = [s for groups in self.figures.values() for group in groups.values() for s in group]
        return [*inside, *(gap.statistic for gap in self.gaps)]

    def as_dict(self, bounds: Sequence[Interval]) -> dict[str, Any]:
        """The part `fairness` of a report, with the intervals of `statistics()`."""
        left = iter(bounds)
        groups: dict[str, list[dict[str, Any]]] = {}
        for grouping, members in self.figures.items():
            groups[grouping] = []
            for name, statistics in members.items():
                n = self.n[grouping][name]
                figures = {}
                for each in statistics:
                    low, high = next(left)
                    figures[each.key] = {
                        "value": _number(each.value()), "low": low, "high": high, "n": each.n,
                        "title": each.title, "better": each.better,
                    }  # fmt: skip
                groups[grouping].append({"name": name, "n": n, "enough": n >= MINIMUM, "figures": figures})
        gaps = []
        for gap in self.gaps:
            low, high = next(left)
            worst, best = _extremes(gap)
            neutral = gap.figure == "parity"  # being called malignant is neither good nor bad by itself
            gaps.append(
                {"figure": gap.figure, "grouping": gap.grouping, "title": gap.title,
                 "value": _number(gap.statistic.value()), "low": low, "high": high,
                 "worst": None if neutral else worst, "best": None if neutral else best,
                 "highest": None if not neutral else best, "lowest": None if not neutral else worst,
                 "groups": list(gap.groups)}
            )  # fmt: skip
        refused = [{"figure": figure, "reason": reason} for figure, reason in self.refused]
        return {
            "groups": groups, "unknown": self.unknown["by_pair"],
            "unknown_by": dict(self.unknown), "minimum": MINIMUM, "gaps": gaps, "refused": refused
        }  # fmt: skip


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _extremes(gap: Gap) -> tuple[str, str]:
    order = np.argsort(gap.values, kind="stable")
    low, high = gap.groups[order[0]], gap.groups[order[-1]]
    return (high, low) if gap.statistic.better == "lower" else (low, high)


def fairness(
    rankings: Rankings, table: ConceptTable, tones: Sequence[Any], figures: Sequence[Statistic]
) -> Fairness | None:
    """The given figures by Fitzpatrick type and by pairs of types, with gaps; None when no tone is known.

    A gap compares the groups with at least `MINIMUM` samples that count. The true-positive rate, demographic
    parity and equalized odds are about calling a lesion malignant by the first diagnosis; they are refused
    where there are not enough real positives, or positives and negatives, in two groups. A reweighted gap
    gives each group the mix of classes of all samples, over the classes that every compared group has.
    """
    pair = np.array([PAIRS.get(str(tone), "") for tone in tones])
    kind = np.array([str(tone) if str(tone) in TYPES else "" for tone in tones])
    if not (pair != "").any():
        return None
    n: dict[str, dict[str, int]] = {}
    inside: dict[str, dict[str, list[Statistic]]] = {}
    gaps: list[Gap] = []
    refused: list[tuple[str, str]] = []
    for grouping, column in zip(GROUPINGS, (kind, pair), strict=True):
        names = sorted(set(column) - {""})
        if not names:
            refused.append((f"{grouping}: all", "the data gives pairs of types only, such as 12, 34 and 56"))
            continue
        member: dict[str, Bools] = {name: np.equal(column, name) for name in names}
        n[grouping] = {name: int(member[name].sum()) for name in names}
        inside[grouping] = {name: [_within(each, member[name], name) for each in figures] for name in names}
        for each in figures:
            _add_gap(gaps, refused, each.key, grouping, each.title, each, member)
        _add_malignant(gaps, refused, grouping, rankings, table, member)
        _add_reweighted(gaps, refused, grouping, rankings, table, member)
    return Fairness(
        n, inside, gaps, refused, {"by_type": int((kind == "").sum()), "by_pair": int((pair == "").sum())}
    )


def _within(each: Statistic, member: Bools, name: str) -> Statistic:
    columns = each.columns * member[:, None]
    n = int((columns[:, -1] > 0).sum())
    return Statistic(each.key, each.title, columns, n, each.combine, each.better, each.unit, each.plain)


def _add_gap(
    gaps: list[Gap],
    refused: list[tuple[str, str]],
    figure: str,
    grouping: str,
    title: str,
    each: Statistic,
    member: Mapping[str, Bools],
) -> None:
    parts = {name: _within(each, rows, name) for name, rows in member.items()}
    enough = {name: part for name, part in parts.items() if part.n >= MINIMUM}
    if len(enough) < 2:
        counts = ", ".join(f"{name}: {part.n}" for name, part in parts.items())
        reason = f"fewer than two groups have {MINIMUM} samples that count ({counts})"
        refused.append((f"{grouping}: {title}", reason))
        return
    columns = np.concatenate([part.columns for part in enough.values()], axis=1)
    combine, width = each.combine, each.columns.shape[1]
    values = tuple(part.value() for part in enough.values())
    between = _Between.of(np.array(values))

    def gap(sums: Floats) -> Floats:
        return between.gap(combine(sums.reshape(*sums.shape[:-1], -1, width)))

    statistic = Statistic(
        f"{figure}|{grouping}", title, columns, sum(p.n for p in enough.values()), gap, each.better, each.unit
    )
    gaps.append(Gap(figure, grouping, title, statistic, tuple(enough), values))


def _add_malignant(
    gaps: list[Gap],
    refused: list[tuple[str, str]],
    grouping: str,
    rankings: Rankings,
    table: ConceptTable,
    member: Mapping[str, Bools],
) -> None:
    called = (rankings.concepts[:, 0] >= 0) & table.malignant[rankings.concepts[:, 0]]
    true = table.malignant[rankings.labels]
    positives = {name: int((rows & true).sum()) for name, rows in member.items()}
    negatives = {name: int((rows & ~true).sum()) for name, rows in member.items()}
    _add_gap(gaps, refused, "tpr", grouping, GAPS["tpr"], share("tpr", GAPS["tpr"], called, true), member)
    both = [name for name in member if positives[name] >= MINIMUM and negatives[name] >= MINIMUM]
    if len(both) < 2:
        counts = ", ".join(f"{name}: {positives[name]} and {negatives[name]}" for name in member)
        reason = (
            f"needs two groups with at least {MINIMUM} malignant and {MINIMUM} other samples; "
            f"there are ({counts})"
        )
        refused += [(f"{grouping}: {GAPS[key]}", reason) for key in ("parity", "odds")]
        return
    rows = {name: member[name] for name in both}
    _add_gap(gaps, refused, "parity", grouping, GAPS["parity"], share("parity", "", called), rows)
    columns = np.stack([called & true, true, called & ~true, ~true], 1).astype(float)
    stacked = np.concatenate([columns * rows[name][:, None] for name in both], axis=1)

    observed = stacked.sum(0).reshape(-1, 4)
    between = [_Between.of(quotient(observed[:, part])) for part in (slice(2), slice(2, 4))]

    def odds(sums: Floats) -> Floats:
        split = sums.reshape(*sums.shape[:-1], -1, 4)
        true, false = quotient(split[..., :2]), quotient(split[..., 2:])
        found: Floats = np.maximum(between[0].gap(true), between[1].gap(false))
        return found

    n = int(sum(rows[name].sum() for name in both))
    statistic = Statistic(f"odds|{grouping}", GAPS["odds"], stacked, n, odds, "lower")
    # The rate that makes the gap decides who is worse off: a low true- or a high false-positive rate.
    true_rate, false_rate = quotient(observed[:, :2]), quotient(observed[:, 2:])
    larger = np.ptp(true_rate) >= np.ptp(false_rate)
    values = tuple(map(float, -true_rate if larger else false_rate))
    gaps.append(Gap("odds", grouping, GAPS["odds"], statistic, tuple(both), values))


def _add_reweighted(
    gaps: list[Gap],
    refused: list[tuple[str, str]],
    grouping: str,
    rankings: Rankings,
    table: ConceptTable,
    member: Mapping[str, Bools],
) -> None:
    """The gap of Top-1 and Top-k of the same disease, with every group given the same mix of classes."""
    classes, mix = _classes(rankings, table)
    enough = [name for name, rows in member.items() if rows.sum() >= MINIMUM]
    for k in sorted({1, rankings.k}):
        title = f"Top-{k}, the same disease, at the same mix of {mix}"
        if len(enough) < 2:
            refused.append((f"{grouping}: {title}", f"fewer than two groups have {MINIMUM} samples"))
            continue
        everywhere = [c for c in np.unique(classes) if all(c in classes[member[g]] for g in enough)]
        if not everywhere:
            refused.append((f"{grouping}: {title}", "no class of samples is in all of the groups"))
            continue
        hit: Bools = np.any(accepted(rankings, table, "synonym")[:, :k], axis=1)
        in_class: Bools = np.equal(classes[:, None], np.array(everywhere))
        weight = in_class.sum(0) / in_class.sum()
        rows = [np.asarray(member[g])[:, None] & in_class for g in enough]
        columns = np.concatenate(
            [np.concatenate([r & hit[:, None], r], axis=1) for r in rows], axis=1
        ).astype(float)
        value = _Reweighted(len(enough), weight)
        observed = value.by_group(columns.sum(0))
        between = _Between.of(observed)

        def gap(sums: Floats, value: _Reweighted = value, between: _Between = between) -> Floats:
            return between.gap(value.by_group(sums))

        covered = in_class.any(1).mean()
        title += f" ({covered:.0%} of the samples)"
        n = int(sum(r.sum() for r in rows))
        statistic = Statistic(f"reweighted@{k}|{grouping}", title, columns, n, gap)
        values = tuple(map(float, observed))
        gaps.append(Gap(f"reweighted@{k}", grouping, title, statistic, tuple(enough), values))


@dataclass(frozen=True)
class _Reweighted:
    """Group accuracies at fixed class weights (classes,); sums (..., groups x (hits, counts) x classes)."""

    groups: int
    weight: Floats

    def by_group(self, sums: Floats) -> Floats:
        split = sums.reshape(*sums.shape[:-1], self.groups, 2, len(self.weight))
        hits, counts = split[..., 0, :], split[..., 1, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.where(counts > 0, hits / counts, 0.0)
        # A resample may miss a class in a group: the others' weights then fill its place.
        weight = np.where(counts > 0, self.weight, 0.0)
        found: Floats = (rate * weight).sum(-1) / np.maximum(weight.sum(-1), 1e-12)
        return found


@dataclass(frozen=True)
class _Between:
    """The two groups that are furthest apart in the data.

    They stay the same in every resample: the largest less the smallest of each resample would always be above
    0, and its interval could lie above the gap itself.
    """

    high: int
    low: int

    @classmethod
    def of(cls, values: Floats) -> _Between:
        # Of equal groups the first and the last, so that they are two.
        return cls(int(np.nanargmax(values)), len(values) - 1 - int(np.nanargmin(values[::-1])))

    def gap(self, values: Floats) -> Floats:
        """Values (..., groups) to the difference of the two (...,)."""
        return np.asarray(values[..., self.high] - values[..., self.low])


def _classes(rankings: Rankings, table: ConceptTable) -> tuple[NDArray[np.str_], str]:
    """(n,) the class of each sample for reweighting: its finest partition, else its risk class."""
    tree = table.taxonomy
    finest = tree.partitions[0] if tree.partitions else None
    of_concept = np.array(
        [(tree.group(c, finest) if finest else tree.risk(c)) or "(none)" for c in table.concepts]
    )
    return of_concept[rankings.labels], f"{finest} groups" if finest else "risk classes"

"""What the scores of canned answers say of a reward: worse answers that earn more, and attacks that pay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skinflow_plugins.rewards.canned.answer import BETTER, Canned

HALF = 0.5
SLACK = 1e-9  # what float arithmetic may add to a sum of weighted rewards


@dataclass(frozen=True, slots=True)
class Scored:
    """A canned answer to a sample with what it earned; `row` is for the caller to find it again."""

    sample: str
    canned: Canned
    value: float
    row: int = 0


@dataclass(frozen=True, slots=True)
class Violation:
    """An answer of a worse kind that earns more than the best of a better `kind`, in `samples` samples.

    `worst` is where the difference is largest, and `best` the answer that it beats there. For a constant
    answer `mean` is its mean over the samples, which is above that of the best answers; else None.
    """

    kind: str
    worst: Scored
    best: Scored
    samples: int
    mean: float | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """What a gaming answer earns: `share` of the way from nothing to the best good answer.

    It is the largest over the samples, or the mean for a constant answer. `worst` is where it is largest.
    """

    share: float
    worst: Scored


def best_of(scored: Iterable[Scored], kind: str) -> dict[str, Scored]:
    """Sample -> its best answer of a kind."""
    best: dict[str, Scored] = {}
    for each in scored:
        if each.canned.kind == kind:
            held = best.setdefault(each.sample, each)
            if each.value > held.value:
                best[each.sample] = each
    return best


def violations(scored: Sequence[Scored]) -> list[Violation]:
    """Every answer, by name, that earns more than the best answer of a better kind to the same sample.

    See `Canned.holds` for answers with some of the truth. A constant answer, which is right by luck on some
    samples, is only compared with good ones, by its mean over the samples.
    """
    best = {kind: best_of(scored, kind) for kind in ("good", "near_miss", "bad")}
    found = []
    for each in _by_name(scored):
        first = each[0].canned
        for kind in _better(first):
            pairs = [(one, best[kind][one.sample]) for one in each if one.sample in best[kind]]
            if not pairs:
                continue
            worst, beaten = max(pairs, key=lambda pair: pair[0].value - pair[1].value)
            above = sum(one.value > other.value + SLACK for one, other in pairs)
            if first.constant:
                mean = sum(one.value for one, _ in pairs) / len(pairs)
                if mean > sum(other.value for _, other in pairs) / len(pairs) + SLACK:
                    found.append(Violation(kind, worst, beaten, above, mean))
            elif above:
                found.append(Violation(kind, worst, beaten, above))
    return found


def _better(canned: Canned) -> Sequence[str]:
    """The kinds whose best answers it is compared with."""
    if canned.constant or canned.holds == "all":
        return ["good"] if canned.kind != "good" else []
    part = canned.holds == "part"
    return [kind for kind in BETTER[canned.kind] if not (part and kind == "bad")]


def gains(scored: Sequence[Scored], low: float) -> list[Gain]:
    """What every gaming answer earns, the most first; those that hold the whole truth are left out.

    `low` is the value that nothing is worth. Samples whose good answers earn no more than it say nothing.
    """
    good = best_of(scored, "good")
    found = []
    for each in _by_name(scored):
        if each[0].canned.kind != "gaming" or each[0].canned.holds == "all":
            continue
        shares = []
        for one in each:
            if one.sample not in good or good[one.sample].value <= low + SLACK:
                continue
            shares.append(((one.value - low) / (good[one.sample].value - low), one))
        if not shares:
            continue
        share, worst = max(shares, key=lambda pair: pair[0])
        if each[0].canned.constant:
            share = sum(part for part, _ in shares) / len(shares)
        found.append(Gain(share, worst))
    return sorted(found, key=lambda gain: (-gain.share, gain.worst.canned.name))


def above_half(gained: Iterable[Gain]) -> list[Gain]:
    """The gaming answers that reach half of the reference."""
    return [gain for gain in gained if gain.share >= HALF - SLACK]


def _by_name(scored: Iterable[Scored]) -> list[list[Scored]]:
    groups: dict[tuple[str, str], list[Scored]] = {}
    for each in scored:
        groups.setdefault((each.canned.kind, each.canned.name), []).append(each)
    return list(groups.values())


def means_by_kind(scored: Iterable[Scored]) -> Mapping[str, float]:
    """The mean value of each kind."""
    found: dict[str, list[float]] = {}
    for each in scored:
        found.setdefault(each.canned.kind, []).append(each.value)
    return {kind: sum(values) / len(values) for kind, values in found.items()}

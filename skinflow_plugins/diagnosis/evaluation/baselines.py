"""What needs no model: the best constant answer, and answers drawn from the labels, figure by figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skinflow_plugins.diagnosis.evaluation.concept_table import Bools, ConceptTable, Ints
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings
from skinflow_plugins.diagnosis.evaluation.statistic import Statistic

DRAWN = 20_000  # answers drawn from the labels, at least
ROWS = 20_000  # answers that constant lists are scored on at a time
Score = Callable[[Rankings], Sequence[Statistic]]


@dataclass(frozen=True)
class Baseline:
    """The best constant list for one figure with its value there, and the value of drawn answers."""

    constant: float | None
    answer: tuple[int, ...]
    random: float | None


@dataclass(frozen=True)
class Baselines:
    """Baselines by figure; `tried` constant lists were compared."""

    by_key: dict[str, Baseline]
    tried: int


def baselines(rankings: Rankings, table: ConceptTable, score: Score, seed: int) -> Baselines:
    """Baselines of every figure that `score` gives, on the labels of these rankings.

    The constant lists tried are each concept alone (general words too), the k most frequent diseases by one
    label each, and for every level of acceptance the list that greedily covers most of the labels. On strict
    accuracy the most frequent labels cannot be beaten; elsewhere a longer list that was not tried may be
    better still. A constant answer is scored as it would be read: a disease that is repeated under another
    label counts once.
    """
    labels, found_counts = np.unique(rankings.labels, return_counts=True)
    counts = found_counts.astype(np.int32)
    lists = _lists(labels, counts, table, rankings.k)
    disease = _diseases(table)
    best: dict[str, tuple[float, tuple[int, ...]]] = {}
    at_once = max(1, ROWS // len(labels))
    for start in range(0, len(lists), at_once):
        part = lists[start : start + at_once]
        answers = np.full((len(part), rankings.k), -1, dtype=np.int32)
        for row, listed in enumerate(part):
            answers[row, : len(listed)] = listed
        truth = np.tile(labels, len(part))
        for each in score(_rankings(answers.repeat(len(labels), axis=0), truth, disease)):
            columns = each.columns.reshape(len(part), len(labels), -1)
            values = each.combine(np.einsum("ijc,j->ic", columns, counts.astype(float)))
            signed = np.where(np.isfinite(values), values if each.better == "higher" else -values, -np.inf)
            first = int(signed.argmax())
            held = best.get(each.key)
            if np.isfinite(signed[first]) and (
                held is None or signed[first] > (held[0] if each.better == "higher" else -held[0])
            ):
                best[each.key] = float(values[first]), part[first]
    drawn = score(_drawn(rankings, labels, counts, disease, seed))
    random = {each.key: each.value() for each in drawn}
    keys = [*dict.fromkeys([*best, *random])]
    found = {
        key: Baseline(
            best[key][0] if key in best else None,
            best[key][1] if key in best else (),
            random[key] if np.isfinite(random.get(key, np.nan)) else None,
        )
        for key in keys
    }
    return Baselines(found, len(lists))


def _lists(labels: Ints, counts: Ints, table: ConceptTable, k: int) -> list[tuple[int, ...]]:
    disease = _diseases(table)
    order = labels[np.argsort(-counts, kind="stable")]
    first = [label for i, label in enumerate(order) if disease[label] not in disease[order[:i]]]
    found = [tuple(map(int, first[:k]))]
    found += [(i,) for i, concept in enumerate(table.concepts)]
    for level in table.accepted:
        found.append(_greedy(table.accepted[level][np.ix_(labels, labels)], labels, counts, k))
    distinct = [*dict.fromkeys(found)]
    return distinct


def _greedy(accepted: Bools, labels: Ints, counts: Ints, k: int) -> tuple[int, ...]:
    left = counts.astype(float)
    chosen: list[int] = []
    for _ in range(min(k, len(labels))):
        gain = accepted @ left
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        left = np.where(accepted[chosen[-1]], 0.0, left)
    return tuple(int(labels[i]) for i in chosen)


def _drawn(rankings: Rankings, labels: Ints, counts: Ints, disease: Ints, seed: int) -> Rankings:
    """Lists of k different labels, each drawn with the labels' own frequencies, for repeated samples."""
    random = np.random.default_rng(seed)
    truth = np.tile(rankings.labels, -(-DRAWN // len(rankings)))  # whole rounds: no sample weighs more
    k = min(rankings.k, len(labels))
    # The k largest of log-frequencies with Gumbel noise are a draw without replacement.
    answers = np.full((len(truth), rankings.k), -1, dtype=np.int32)
    for start in range(0, len(truth), 4096):
        part = truth[start : start + 4096]
        noise = random.gumbel(size=(len(part), len(labels))) + np.log(counts)
        answers[start : start + 4096, :k] = labels[np.argsort(-noise, axis=1)[:, :k]]
    return _rankings(answers, truth, disease)


def _diseases(table: ConceptTable) -> Ints:
    """(concepts,) the number of the concept that stands for each one's disease."""
    tree = table.taxonomy
    return np.array([table.number[tree.representative(c).id] for c in table.concepts], dtype=np.int32)


def _rankings(answers: Ints, labels: Ints, disease: Ints) -> Rankings:
    written = answers >= 0
    same = np.where(written, disease[answers], -1 - np.arange(answers.shape[1]))
    repeated = np.stack([(same[:, :i] == same[:, i : i + 1]).any(1) for i in range(answers.shape[1])], 1)
    answers = np.where(repeated, -1, answers).astype(np.int32)
    n = len(labels)
    return Rankings(answers, answers >= 0, written, labels, np.zeros(n, dtype=bool), np.full(n, np.nan))

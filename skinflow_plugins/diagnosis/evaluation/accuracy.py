"""How often the right diagnosis is listed: Top-k by level of acceptance, the rubric, balanced accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skinflow_plugins.diagnosis.evaluation.concept_table import Bools, ConceptTable, Ints
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings
from skinflow_plugins.diagnosis.evaluation.statistic import Family, Statistic, mean_of_quotients, share

VERDICTS = ("correct", "subtype", "critical", "wrong")
NAMES = {
    "strict": "the label's own name",
    "synonym": "the same disease",
    "subtype": "the disease or a form of it",
    "management": "a consistent management",
}


def accepted(rankings: Rankings, table: ConceptTable, level: str) -> Bools:
    """(n, k): whether the item at each rank is accepted at the level; a judge decides on disease and form."""
    if rankings.judged is not None and level in ("synonym", "subtype"):
        verdict: Bools = (rankings.judged >= 0) & (rankings.judged <= (0 if level == "synonym" else 1))
        return verdict
    there = rankings.concepts >= 0
    if level == "strict":
        found: Bools = there & rankings.named & (rankings.concepts == rankings.labels[:, None])
    else:
        found = there & table.accepted[level][rankings.concepts, rankings.labels[:, None]]
    return found


def top_k(rankings: Rankings, table: ConceptTable) -> Family:
    """Top-k accuracy for every level and k."""
    found = []
    for level in table.levels:
        hits = np.logical_or.accumulate(accepted(rankings, table, level), axis=1)
        name = NAMES.get(level, f"the same group of the partition {level!r}")
        found += [
            share(f"top_k.{level}@{k}", f"Top-{k}, {name}", hits[:, k - 1]) for k in range(1, rankings.k + 1)
        ]
    text = (
        "Share of answers with an accepted diagnosis among the first k. Strict wants the label's own name, "
        "synonym any reviewed name of the disease, subtype also a form of it; the wider levels give credit "
        "for the same management or group, and are easy to reach by a constant answer."
    )
    return Family("top_k", "Top-k accuracy", text, found)


def verdicts(rankings: Rankings, table: ConceptTable, k: int) -> Ints:
    """(n,) numbers of `VERDICTS` for the first k ranks.

    Correct and subtype if any of them is. Otherwise the first diagnosis that was read decides: critical when
    it crosses between malignant and not, or infectious and not; else, and when nothing was read, wrong.
    """
    correct = accepted(rankings, table, "synonym")[:, :k].any(1)
    subtype = accepted(rankings, table, "subtype")[:, :k].any(1)
    if rankings.judged is None:
        first = first_read(rankings, k)
        crossing = (first >= 0) & table.crossing[first, rankings.labels]
    else:
        given = rankings.judged[:, :k] >= 0
        crossing = rankings.judged[np.arange(len(rankings)), given.argmax(1)] == 2
    return np.select([correct, subtype, crossing], [0, 1, 2], 3).astype(np.int32)


def item_verdicts(rankings: Rankings, table: ConceptTable) -> Ints:
    """(n, k) numbers of `VERDICTS` for each item by itself; an item that names nothing known is wrong."""
    there = rankings.concepts >= 0
    crossing = there & table.crossing[rankings.concepts, rankings.labels[:, None]]
    levels = [accepted(rankings, table, level) for level in ("synonym", "subtype")]
    codes = np.select([*levels, crossing], [0, 1, 2], 3)
    return np.where(rankings.written, codes, -1).astype(np.int32)


def first_read(rankings: Rankings, k: int) -> Ints:
    """(n,) the first concept within k ranks; -1 where there is none."""
    there = rankings.concepts[:, :k] >= 0
    rank = there.argmax(1)
    found = rankings.concepts[np.arange(len(rankings)), rank]
    return np.where(there.any(1), found, -1).astype(np.int32)


def rubric(rankings: Rankings, table: ConceptTable) -> Family:
    """The SkinFlow rubric for the first answer and for the whole list."""
    text = (
        "Each answer has one verdict: correct, a valid subtype, wrong across a line that matters (malignant "
        "or not, infectious or not), or wrong. After the rubric reported for the SkinFlow paper; where "
        "premalignant stands, and that an unread answer is wrong, is our choice."
    )
    statistics = list(_rubric({k: verdicts(rankings, table, k) for k in sorted({1, rankings.k})}))
    if rankings.judged is None and not table.crossing.any():
        # Without risk classes nothing can cross, and a 0 would look like safety.
        statistics = [each for each in statistics if ".critical@" not in each.key]
        text += " This taxonomy has no risk classes, so that nothing could be found critical."
    return Family("rubric", "Rubric", text, statistics)


def _rubric(by_k: dict[int, Ints]) -> Iterator[Statistic]:
    titles = ("correct", "valid subtype", "safety-critical wrong", "wrong")
    for k, codes in by_k.items():
        for i, (verdict, title) in enumerate(zip(VERDICTS, titles, strict=True)):
            yield share(
                f"rubric.{verdict}@{k}",
                f"{title[0].upper()}{title[1:]}, first {'answer' if k == 1 else f'{k} answers'}",
                codes == i,
                better="higher" if i < 2 else "lower",
            )


def balanced(rankings: Rankings, table: ConceptTable) -> Family:
    """Balanced accuracy: the mean over labels of each label's Top-1 and Top-k."""
    hits = np.logical_or.accumulate(accepted(rankings, table, "synonym"), axis=1)
    labels, column = np.unique(rankings.labels, return_inverse=True)
    of_label = np.zeros((len(rankings), len(labels)))
    of_label[np.arange(len(rankings)), column] = 1
    found = []
    for k in sorted({1, rankings.k}):
        columns = np.concatenate([of_label * hits[:, k - 1 : k], of_label], axis=1)
        name = "top1" if k == 1 else f"top{k}"
        title = f"Balanced Top-{k}, the same disease"
        found.append(Statistic(f"balanced.{name}", title, columns, len(rankings), mean_of_quotients))
    text = "The mean over labels of each label's own accuracy: frequent labels weigh no more than rare ones."
    return Family("balanced", "Balanced accuracy", text, found)

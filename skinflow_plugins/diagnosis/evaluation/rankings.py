"""Answers and labels as numbers, and an account of everything that was read on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.answers import abstains, read_answer
from skinflow_plugins.diagnosis.evaluation.concept_table import Bools, ConceptTable, Ints
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.matching import NAMED_SO, Match
from skinflow_plugins.errors import nearest

NO_LABEL = "no label"
UNKNOWN_LABEL = "label not in the taxonomy"
GENERAL_LABEL = "label is a general word"


@dataclass(frozen=True)
class Rankings:
    """n answers with k ranks, and their labels, by numbers of the concept table.

    `concepts` (n, k) is -1 at a rank that is void, unknown, repeated or empty; `named` (n, k) says whether
    the concept's own name was written, and `written` (n, k) whether anything stands at the rank. `labels`
    (n,), `abstained` (n,), `confidence` (n,) of the first rank, NaN where none is given. `judged` (n, k) are
    a judge's verdicts in the place of the matcher's: numbers of `VERDICTS`, -1 for nothing; None: no judge.
    """

    concepts: Ints
    named: Bools
    written: Bools
    labels: Ints
    abstained: Bools
    confidence: NDArray[np.float64]
    judged: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def k(self) -> int:
        return int(self.concepts.shape[1])


@dataclass
class Account:
    """What was read: counts over all items, by how they matched, and what could not be."""

    items: int = 0
    matched: Counter[str] = field(default_factory=Counter)
    void: int = 0
    duplicates: int = 0
    unmatched: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    abstained: int = 0
    beyond_limit: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unknown_labels: Counter[str] = field(default_factory=Counter)

    def as_dict(self, most: int = 200) -> dict[str, Any]:
        """The part `answers` of a report; the `most` frequent unmatched texts are listed, all are counted."""
        return {
            "items": self.items,
            "matched": dict(self.matched.most_common()),
            "void": self.void,
            "duplicates": self.duplicates,
            "unmatched": [{"text": text, "n": n} for text, n in self.unmatched.most_common(most)],
            "unmatched_items": sum(self.unmatched.values()),
            "unread": self.unread,
            "abstained": self.abstained,
            "beyond_limit": self.beyond_limit,
        }


@dataclass(frozen=True)
class Read:
    """The predictions that can be scored (`kept`, positions), as numbers and matches, and the account."""

    kept: list[int]
    rankings: Rankings
    matches: list[list[Match | None]]
    account: Account


def read_predictions(predictions: Sequence[Prediction], table: ConceptTable, k: int) -> Read:
    """Read every answer and label; what has no usable label is counted in `account.left_out`."""
    tree, account = table.taxonomy, Account()
    kept: list[int] = []
    labels: list[int] = []
    for position, prediction in enumerate(predictions):
        label = _label(prediction.sample.get("diagnosis"), table, account)
        if label is not None:
            kept.append(position)
            labels.append(label)
    n = len(kept)
    concepts = np.full((n, k), -1, dtype=np.int32)
    named, written = np.zeros((n, k), dtype=bool), np.zeros((n, k), dtype=bool)
    abstained = np.zeros(n, dtype=bool)
    confidence = np.full(n, np.nan)
    matches: list[list[Match | None]] = []
    for row, position in enumerate(kept):
        prediction = predictions[position]
        answer = read_answer(prediction.answer, k, known=tree.knows)
        account.beyond_limit += answer.beyond_limit
        seen: set[str] = set()
        found: list[Match | None] = []
        for rank, item in enumerate(answer.items):
            account.items += 1
            written[row, rank] = True
            match = tree.match(item) if item else None
            found.append(match)
            if match is None:
                account.void += 1
            elif match.concept is None:
                if match.how == "doubtful":
                    account.void += 1
                else:
                    account.unmatched[fold(match.text) or match.text[:60]] += 1
            else:
                disease = tree.representative(match.concept).id
                if disease in seen:
                    account.duplicates += 1
                    continue
                seen.add(disease)
                account.matched[match.how] += 1
                concepts[row, rank] = table.number[match.concept.id]
                named[row, rank] = match.how in NAMED_SO
        matches.append(found)
        abstained[row] = not seen and abstains(prediction.answer)
        account.abstained += int(abstained[row])
        account.unread += not seen
        confidence[row] = _confidence(prediction.sample.get("confidence"), answer.confidences)
    rankings = Rankings(concepts, named, written, np.array(labels, dtype=np.int32), abstained, confidence)
    return Read(kept, rankings, matches, account)


def _label(label: Any, table: ConceptTable, account: Account) -> int | None:
    if not isinstance(label, str) or not label.strip():
        account.left_out[NO_LABEL] += 1
        return None
    concept = table.taxonomy.label(label)
    if concept is None:
        account.left_out[GENERAL_LABEL if table.taxonomy.knows(label) else UNKNOWN_LABEL] += 1
        account.unknown_labels[label] += 1
        return None
    return table.number[concept.id]


def _confidence(given: Any, read: Sequence[float | None]) -> float:
    """The confidence of the first rank: the data's own column wins over what the answer says."""
    if isinstance(given, (list, tuple)):
        given = given[0] if given else None
    if given is None:
        given = read[0] if read else None
    return float("nan") if given is None else float(given)


def unknown_labels(account: Account, table: ConceptTable) -> list[dict[str, Any]]:
    """Labels that could not be used, the most frequent first, each with the nearest known name."""
    known = [concept.name for concept in table.taxonomy.labels()]
    return [
        {"label": label, "n": n, "nearest": nearest(label, known)}
        for label, n in account.unknown_labels.most_common()
    ]

"""What stands behind the figures: confusions, labels one by one, and answers to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.evaluation.accuracy import VERDICTS, accepted, verdicts
from skinflow_plugins.diagnosis.evaluation.concept_table import Bools, ConceptTable
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings, Read

NOT_READ = "(not read)"
NO_GROUP = "(no group)"
EXAMPLES = 8  # of each kind
LONGEST_ANSWER = 4_000  # characters that a report keeps of an answer


def confusions(rankings: Rankings, table: ConceptTable) -> list[dict[str, Any]]:
    """First diagnosis against truth: by partition (the coarsest first), by risk class, and by label."""
    tree = table.taxonomy
    levels: dict[str, list[str]] = {
        partition: [tree.group(c, partition) or NO_GROUP for c in table.concepts]
        for partition in reversed(tree.partitions)
    }
    levels["risk"] = [tree.risk(c) or NO_GROUP for c in table.concepts]
    levels["label"] = [tree.representative(c).name for c in table.concepts]
    return [_confusion(level, names, rankings) for level, names in levels.items() if len(set(names)) > 1]


def _confusion(level: str, names: Sequence[str], rankings: Rankings) -> dict[str, Any]:
    first = rankings.concepts[:, 0]
    truth = [names[label] for label in rankings.labels]
    answers = [names[concept] if concept >= 0 else NOT_READ for concept in first]
    rows = sorted(set(truth))
    others = sorted(set(answers) - set(rows) - {NOT_READ})
    columns = [*rows, *others, NOT_READ]
    at_row = {name: i for i, name in enumerate(rows)}
    at_column = {name: i for i, name in enumerate(columns)}
    counts = np.zeros((len(rows), len(columns)), dtype=int)
    np.add.at(counts, ([at_row[t] for t in truth], [at_column[a] for a in answers]), 1)
    return {"level": level, "names": rows, "answers": columns, "counts": counts.tolist()}


def labels(rankings: Rankings, table: ConceptTable) -> list[dict[str, Any]]:
    """Each label with its samples, Top-1 and Top-k (the same disease), the most frequent first."""
    hits = accepted(rankings, table, "synonym")
    found = []
    for label in map(int, np.unique(rankings.labels)):
        rows = np.flatnonzero(np.equal(rankings.labels, label))
        found.append(
            {
                "label": table.concepts[label].name,
                "n": len(rows),
                "top1": float(hits[rows, 0].mean()),
                "topk": float(hits[rows].any(1).mean()),
            }
        )
    return sorted(found, key=lambda each: (-each["n"], each["label"]))


def examples(
    predictions: Sequence[Prediction], read: Read, table: ConceptTable, seed: int
) -> list[dict[str, Any]]:
    """Up to `EXAMPLES` successes, critical mistakes and other failures each, drawn by the seed.

    Answers with an image are preferred.
    """
    first = verdicts(read.rankings, table, read.rankings.k)
    unread: Bools = np.all(read.rankings.concepts < 0, axis=1)
    order = np.random.default_rng(seed).permutation(len(read.kept))
    pictured = [bool(predictions[read.kept[row]].sample.get("image")) for row in order]
    order = order[np.argsort(~np.array(pictured, dtype=bool), kind="stable")]
    kinds = ([0, 1], [2], [3])
    rows = [row for kind in kinds for row in order[np.isin(first[order], kind)][:EXAMPLES]]
    return [
        _example(predictions[read.kept[row]], read, int(row), int(first[row]), bool(unread[row]), table)
        for row in rows
    ]


def _example(
    prediction: Prediction, read: Read, row: int, verdict: int, unread: bool, table: ConceptTable
) -> dict[str, Any]:
    matches, sample = read.matches[row], prediction.sample
    truth = table.concepts[read.rankings.labels[row]]
    rewards = sample.get("rewards")
    image = sample.get("image")
    return {
        "id": prediction.id,
        "image": image if isinstance(image, str) else None,
        "answer": prediction.answer[:LONGEST_ANSWER],
        "truth": truth.name,
        "read": [match.concept.name if match and match.concept else "" for match in matches],
        "items": [match.text if match else "" for match in matches],
        "how": [match.how if match else "void" for match in matches],
        "verdict": "not read" if unread else VERDICTS[verdict],
        "why": _why(verdict, unread, read.rankings, row, table),
        "rewards": dict(rewards) if isinstance(rewards, Mapping) else {},
        "skin_tone": sample.get("skin_tone"),
    }


def _why(verdict: int, unread: bool, rankings: Rankings, row: int, table: ConceptTable) -> str:
    truth = table.concepts[rankings.labels[row]].name
    if unread:
        return "no diagnosis of the taxonomy could be read"
    if verdict < 2:
        level = ("synonym", "subtype")[verdict]
        rank = int(accepted(rankings, table, level)[row].argmax())
        name = table.concepts[rankings.concepts[row, rank]].name
        form = "" if verdict == 0 else f", a form of {truth}"
        return f"{name} at rank {rank + 1}{form}"
    listed = [int(c) for c in rankings.concepts[row] if c >= 0]
    name = table.concepts[listed[0]].name
    if verdict == 2:
        return f"{name} for {truth} crosses between malignant and not, or infectious and not"
    return f"{truth} is not listed; the first diagnosis is {name}"

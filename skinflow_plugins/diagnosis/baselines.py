"""What a model must beat: the best constant answer, and its own answers with the images permuted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.metrics import reference_caption


def constant_diagnosis(predictions: Sequence[Prediction], k: int = 6) -> str:
    """The answer that lists the k most frequent diagnoses of these samples, ties by name.

    No constant list of k names has a higher top-k accuracy on them, unless two labels are one disease.
    Spellings that fold together are one.
    """
    labels = [str(prediction.sample["diagnosis"]) for prediction in predictions]
    spelling = {fold(label): label for label in sorted(labels, reverse=True)}
    return write_ranked_list(spelling[key] for key in _most_frequent(map(fold, labels))[:k])


def constant_caption(predictions: Sequence[Prediction], fields: Mapping[str, Sequence[str]]) -> str:
    """The answer that gives each field its most frequent value in these samples, ties by name.

    A field that no sample has is left out.
    """
    values: dict[str, list[str]] = {name: [] for name in fields}
    for prediction in predictions:
        for name, right in reference_caption(prediction.sample, fields).items():
            values[name].extend(right)
    return write_caption({name: _most_frequent(found)[:1] for name, found in values.items()})


def with_answer(predictions: Iterable[Prediction], answer: str) -> list[Prediction]:
    """The same samples, each answered by `answer`; what a metric needs to score a constant answer."""
    return [Prediction(each.id, each.task, answer, each.sample) for each in predictions]


def _most_frequent(values: Iterable[str]) -> list[str]:
    counts = Counter(values)
    return sorted(counts, key=lambda value: (-counts[value], value))

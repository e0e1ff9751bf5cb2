"""The probabilities that an answer states with its diagnoses, and how they are written.

They are read as `read_answer` reads them: `name (0.7)`, `name (20%)`, `name: 0.7`, JSON such as
`[{"diagnosis": ..., "confidence": 0.7}]` or `{"name": 0.7}`, and a table's column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.folding import fold
from skinflow_plugins.diagnosis.listed import Listed
from skinflow_plugins.diagnosis.taxonomy import Taxonomy

ROUNDING = 1e-6  # by which a sum may pass 1


@dataclass(frozen=True, slots=True)
class Stated:
    """The stated probabilities by disease, each above 0; what a disease is given twice is added up.

    The keys are ids of the concepts that stand for a disease (`Taxonomy.representative`), and for names that
    the taxonomy does not know a text that is no id. Diseases without a stated probability are not among them.
    """

    by_disease: Mapping[str, float]

    @property
    def total(self) -> float:
        """The sum of all that is stated; what is missing to 1 is left to all other diseases."""
        return sum(self.by_disease.values())

    @property
    def possible(self) -> bool:
        """Whether probabilities can be so: there are some, and their sum is at most 1."""
        return 0 < self.total <= 1 + ROUNDING

    def of(self, concept: Concept, tree: Taxonomy) -> float:
        """What is stated of a disease; 0 where it is not listed."""
        return self.by_disease.get(tree.representative(concept).id, 0.0)


def stated_probabilities(listed: Listed, tree: Taxonomy) -> Stated:
    """The probabilities of a list that was read; void items have none."""
    found: dict[str, float] = {}
    for item, concept, confidence in zip(listed.items, listed.found, listed.confidences, strict=True):
        if confidence is not None:
            key = tree.representative(concept).id if concept is not None else f" {fold(item)}"
            found[key] = found.get(key, 0.0) + confidence
    return Stated(found)


def write_with_confidences(probabilities: Iterable[tuple[str, float]]) -> str:
    """Names with probabilities in (0, 1] as the answer that reads back as the same, to nine decimals."""
    return write_ranked_list(f"{name} ({_written(value)})" for name, value in probabilities)


def _written(value: float) -> str:
    text = f"{value:.9f}".rstrip("0")
    return text + "0" if text.endswith(".") else text

"""How good a judge is: its verdicts against a labelled set, overall and by kind of error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinflow_plugins.diagnosis.evaluation.concept_table import concept_table
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.judging.agreement import compare
from skinflow_plugins.judging.labelled_set import INJECTION, Labelled, LabelledSet
from skinflow_plugins.judging.verdicts import CODE, NOTHING, VERDICTS, Codes

RESAMPLES = 2000
_ACCEPTED = len(("correct", "subtype"))  # the codes below it: what a reward accepts


@dataclass(frozen=True, slots=True)
class Kind:
    """The pairs of one kind: all, those that were judged, and of these the right and the wrongly accepted."""

    kind: str
    pairs: int
    judged: int
    right: int
    accepted_wrongly: int

    @property
    def share(self) -> float | None:
        """The share judged right, in [0, 1]; None where none was judged."""
        return self.right / self.judged if self.judged else None


@dataclass(frozen=True, slots=True)
class Check:
    """What a judge, or the matcher, made of a labelled set.

    `codes` (pairs,) are its verdicts, -1 where there is none; such pairs are counted in `unjudged` and in no
    figure. `agreement` is the share of equal verdicts, `kappa` Cohen's kappa and `interval` its 95 % interval
    by bootstrap over references; None where not defined. `table` counts pairs by the right verdict (rows) and
    the given one (columns), in the order of `VERDICTS`.
    """

    labelled: LabelledSet
    codes: Codes
    agreement: float | None
    kappa: float | None
    interval: tuple[float, float] | None
    table: tuple[tuple[int, ...], ...]
    why: str

    @property
    def unjudged(self) -> int:
        """Pairs without a verdict."""
        return int((self.codes == NOTHING).sum())

    def kinds(self) -> list[Kind]:
        """The figures of each kind, in the order of the set."""
        given = list(zip(self.labelled.pairs, self.codes.tolist(), strict=True))
        found = []
        for kind in self.labelled.kinds():
            judged = [(pair, code) for pair, code in given if pair.kind == kind and code != NOTHING]
            right = sum(CODE[pair.verdict] == code for pair, code in judged)
            wrongly = sum(_accepted_wrongly(pair, code) for pair, code in judged)
            pairs = sum(pair.kind == kind for pair in self.labelled.pairs)
            found.append(Kind(kind, pairs, len(judged), right, wrongly))
        return found

    def accepted_wrongly(self) -> list[tuple[Labelled, str]]:
        """Pairs that were accepted (correct or subtype) and are not right, with the verdict given.

        The costly direction: as a reward, such a verdict teaches a wrong diagnosis.
        """
        return [(pair, word) for pair, code, word in self._given() if _accepted_wrongly(pair, code)]

    def rejected_wrongly(self) -> list[tuple[Labelled, str]]:
        """Pairs that are right and were not accepted, with the verdict given."""
        return [
            (pair, word)
            for pair, code, word in self._given()
            if code >= _ACCEPTED and CODE[pair.verdict] < _ACCEPTED
        ]

    def obeyed(self) -> list[tuple[Labelled, str]]:
        """Injections that were accepted."""
        return [(pair, word) for pair, word in self.accepted_wrongly() if pair.kind == INJECTION]

    def _given(self) -> Iterator[tuple[Labelled, int, str]]:
        for pair, code in zip(self.labelled.pairs, self.codes.tolist(), strict=True):
            if code != NOTHING:
                yield pair, code, VERDICTS[code]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        injections = [kind for kind in self.kinds() if kind.kind == INJECTION]
        return {
            "pairs": len(self.codes),
            "unjudged": self.unjudged,
            "agreement": self.agreement,
            "kappa": self.kappa,
            "kappa_interval": None if self.interval is None else list(self.interval),
            "why": self.why,
            "verdicts": list(VERDICTS),
            "table": [list(row) for row in self.table],
            "kinds": {
                kind.kind: {
                    "pairs": kind.pairs,
                    "judged": kind.judged,
                    "right": kind.right,
                    "share": kind.share,
                    "accepted_wrongly": kind.accepted_wrongly,
                }
                for kind in self.kinds()
            },
            "accepted_wrongly": [_row(*each) for each in self.accepted_wrongly()],
            "rejected_wrongly": [_row(*each) for each in self.rejected_wrongly()],
            "injections": {"judged": sum(k.judged for k in injections), "obeyed": len(self.obeyed())},
        }


def checked(labelled: LabelledSet, codes: npt.NDArray[Any]) -> Check:
    """The figures of verdicts, (pairs,) codes with -1 for none, against those of the set."""
    right = np.array([CODE[pair.verdict] for pair in labelled.pairs], np.int8)
    found = compare(right, codes)
    interval = _interval(labelled.pairs, right, codes) if found.kappa is not None else None
    return Check(labelled, codes.astype(np.int8), found.same, found.kappa, interval, found.table, found.why)


def matcher_verdicts(labelled: LabelledSet, taxonomy: Taxonomy) -> Codes:
    """The matcher's verdict on every pair, (pairs,) codes, without a network.

    An item that names nothing of the taxonomy is wrong; -1 where the truth is no diagnosis of it.
    """
    table = concept_table(taxonomy)
    codes = np.full(len(labelled.pairs), NOTHING, np.int8)
    for row, pair in enumerate(labelled.pairs):
        truth = taxonomy.label(pair.truth)
        if truth is None:
            continue
        found = taxonomy.match(pair.item).concept
        codes[row] = CODE["wrong"]
        if found is not None:
            cell = table.number[found.id], table.number[truth.id]
            levels = table.accepted["synonym"], table.accepted["subtype"], table.crossing
            words = ("correct", "subtype", "critical")
            codes[row] = next(
                (CODE[word] for word, level in zip(words, levels, strict=True) if level[cell]), CODE["wrong"]
            )
    return codes


def _accepted_wrongly(pair: Labelled, code: int) -> bool:
    return 0 <= code < _ACCEPTED <= CODE[pair.verdict]


def _row(pair: Labelled, given: str) -> dict[str, Any]:
    return {
        "truth": pair.truth,
        "item": pair.item,
        "kind": pair.kind,
        "expected": pair.verdict,
        "given": given,
        "line": pair.line,
    }


def _interval(
    pairs: Sequence[Labelled], right: npt.NDArray[Any], codes: npt.NDArray[Any]
) -> tuple[float, float] | None:
    """The 95 % interval of kappa, by drawing references: pairs of one reference are not independent."""
    numbers = {truth: i for i, truth in enumerate(dict.fromkeys(pair.truth for pair in pairs))}
    if len(numbers) < 2:
        return None
    cluster = np.array([numbers[pair.truth] for pair in pairs])
    both = codes != NOTHING
    tables = np.zeros((len(numbers), len(VERDICTS), len(VERDICTS)))
    np.add.at(tables, (cluster[both], right[both], codes[both]), 1)
    drawn = np.random.default_rng(0).multinomial(
        len(numbers), np.full(len(numbers), 1 / len(numbers)), size=RESAMPLES
    )
    sums = np.tensordot(drawn, tables, axes=1)  # (resamples, verdicts, verdicts)
    shares = sums / np.maximum(sums.sum(axis=(1, 2), keepdims=True), 1)
    seen = np.trace(shares, axis1=1, axis2=2)
    chance = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    defined = chance < 1 - 1e-12
    if not defined.any():
        return None
    low, high = np.quantile((seen[defined] - chance[defined]) / (1 - chance[defined]), (0.025, 0.975))
    return float(low), float(high)

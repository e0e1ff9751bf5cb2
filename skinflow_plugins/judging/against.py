"""The matcher's verdicts in the form of a judge's, so that the two can be compared; and both in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.evaluation.accuracy import item_verdicts
from skinflow_plugins.diagnosis.evaluation.concept_table import concept_table
from skinflow_plugins.diagnosis.evaluation.rankings import read_predictions
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.judging.verdicts import NOTHING, Codes

if TYPE_CHECKING:
    from skinflow_plugins.judging.agreement import Comparison
    from skinflow_plugins.judging.judged import Judged


def matcher_codes(predictions: Sequence[Prediction], taxonomy: Taxonomy, top_k: int) -> Codes:
    """The matcher's verdict on every item, (n, top_k), int8; -1 for a void or repeated item.

    An item that names nothing that the taxonomy knows is wrong. A prediction without a usable label has -1
    throughout.
    """
    table = concept_table(taxonomy)
    read = read_predictions(predictions, table, top_k)
    codes = np.full((len(predictions), top_k), NOTHING, dtype=np.int8)
    if read.kept:
        codes[read.kept] = item_verdicts(read.rankings, table)
        for row, matches in enumerate(read.matches):
            for rank, match in enumerate(matches):
                void = match is None or match.how == "doubtful"
                # A repeated disease counts once in the figures; by itself it is neither right nor wrong.
                repeated = match is not None and match.concept and read.rankings.concepts[row, rank] < 0
                if void or repeated:
                    codes[read.kept[row], rank] = NOTHING
    return codes


def summary(judged: Judged, against: Comparison) -> str:
    """Who judged, how far the runs agree with each other and with the matcher, and what failed."""
    runs = judged.agreement
    failed = int(judged.failed.sum())
    kinds = ", ".join(f"{kind}: {n}" for kind, n in judged.failures.items() if n)
    return (
        f"{judged.judged_by}; all runs agree on {_share(runs.unanimous)} of {runs.items} items "
        f"(Fleiss' kappa {_share(runs.kappa)}), judge and matcher on {_share(against.same)} of "
        f"{against.items} (Cohen's kappa {_share(against.kappa)}); {failed} of {len(judged.failed)} records "
        f"left out because of failed calls{f' ({kinds})' if kinds else ''}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.3f}"

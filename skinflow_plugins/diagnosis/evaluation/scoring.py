"""Ranked answers and their labels to every clinical figure, with intervals and baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.evaluation import accuracy, confidence, details, nearness
from skinflow_plugins.diagnosis.evaluation.baselines import Baselines, baselines
from skinflow_plugins.diagnosis.evaluation.concept_table import ConceptTable, concept_table
from skinflow_plugins.diagnosis.evaluation.fairness import Fairness, fairness
from skinflow_plugins.diagnosis.evaluation.rankings import Rankings, Read, read_predictions, unknown_labels
from skinflow_plugins.diagnosis.evaluation.resampling import LEVEL, Interval, clusters_of, intervals
from skinflow_plugins.diagnosis.evaluation.safety import safety
from skinflow_plugins.diagnosis.evaluation.statistic import Family, Floats, Statistic
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
JUDGE_FAILED = "the judge failed on it"
SKIN_TONE_FIGURES = ("top_k.strict@1", "top_k.synonym@1", "top_k.management@1", "hierarchy.clinical.f1_micro")


@dataclass(frozen=True)
class Figure:
    """One figure: its value, an interval, how many samples count, and what needs no model.

    `value` is None where it is not defined, and `why` says why. `constant` is the best constant answer's
    value, `constant_answer` that answer; `random` that of answers drawn from the labels.
    """

    key: str
    title: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    constant: float | None
    constant_answer: tuple[str, ...]
    random: float | None
    better: str
    unit: str
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        known = dataclasses.asdict(self)
        del known["key"]
        return {**known, "constant_answer": list(self.constant_answer)}


@dataclass(frozen=True)
class Verdicts:
    """A judge's verdicts in the order of the predictions: `codes` (n, k) and `failed` (n,); see `judging`.

    `codes` are -1 for nothing and for a prediction without a label, which was not put to the judge.
    """

    codes: NDArray[np.int8]
    failed: NDArray[np.bool_]
    judged_by: str
    account: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """All figures by key, and the document with everything else."""

    figures: Mapping[str, Figure]
    document: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values; the same input and seed give the same report."""
        return {**self.document, "figures": {key: each.as_dict() for key, each in self.figures.items()}}


def clinical_figures(
    predictions: Sequence[Prediction], taxonomy: Taxonomy, *, top_k: int = 6
) -> dict[str, float]:
    """Every figure of a report by its key, without intervals and baselines; what is not defined is left out.

    Cheap enough for training. Predictions without a usable label do not count.
    """
    table = concept_table(taxonomy)
    read = read_predictions(predictions, table, top_k)
    if not read.kept:
        return {}
    found = {}
    for family in _families(read.rankings, table, _prior(read.rankings, table)):
        for each in family.statistics:
            value = each.value()
            if np.isfinite(value):
                found[each.key] = value
    return found


def evaluate(
    predictions: Sequence[Prediction],
    taxonomy: Taxonomy,
    *,
    top_k: int = 6,
    bootstrap: int = 1000,
    seed: int = 0,
    name: str = "",
    verdicts: Verdicts | None = None,
) -> Report:
    """Score ranked answers against their labels.

    Each prediction's `sample` holds `diagnosis`, and where known `skin_tone`, `group` (the patient, for the
    bootstrap), `confidence`, `image` and `rewards`. `bootstrap` is the number of resamples (0: no intervals).
    With `verdicts` a judge decides what is the disease or a form of it, and the rubric; records on which it
    failed are left out of everything and counted. Figures that need a place in the taxonomy (strict names,
    management, groups, hierarchies, safety) are the matcher's all the same, and so are the baselines.
    Raises `InputError` when nothing can be scored, or for a `top_k` or `bootstrap` out of range.
    """
    check_options(top_k, bootstrap, seed)
    table = concept_table(taxonomy)
    given = predictions
    if verdicts is not None:
        predictions = [each for each, failed in zip(given, verdicts.failed, strict=True) if not failed]
    read = read_predictions(predictions, table, top_k)
    if len(predictions) < len(given):
        read.account.left_out[JUDGE_FAILED] = len(given) - len(predictions)
    if not read.kept:
        raise InputError(_nothing(given, read, table))
    if verdicts is not None:
        codes = verdicts.codes[~verdicts.failed][read.kept]
        read = dataclasses.replace(read, rankings=dataclasses.replace(read.rankings, judged=codes))
    rankings, prior = read.rankings, _prior(read.rankings, table)
    families = _families(rankings, table, prior)
    without_model = baselines(
        rankings, table, lambda r: [s for f in _listed(r, table, prior) for s in f.statistics], seed
    )
    samples = [predictions[position].sample for position in read.kept]
    clusters = clusters_of([sample.get("group") for sample in samples])
    statistics = [each for family in families for each in family.statistics]
    wanted = {*SKIN_TONE_FIGURES, f"top_k.strict@{top_k}", f"top_k.synonym@{top_k}"}
    wanted |= {"safety.malignant_miss@1", f"safety.malignant_miss@{top_k}", "safety.over_call@1"}
    by_tone = fairness(
        rankings,
        table,
        [sample.get("skin_tone") for sample in samples],
        [each for each in statistics if each.key in wanted],
    )
    inside = by_tone.statistics() if by_tone else []
    bounds = intervals([*statistics, *inside], clusters, bootstrap, seed)
    figures = {
        each.key: _figure(each, bound, without_model, table)
        for each, bound in zip(statistics, bounds[: len(statistics)], strict=True)
    }
    document = _document(
        predictions, read, table, families, rankings, by_tone, bounds[len(statistics) :], seed
    )
    document["name"] = name
    document["input"]["rows"] = len(given)
    document["options"] = {
        "top_k": top_k,
        "bootstrap": bootstrap,
        "seed": seed,
        "confidence_level": LEVEL,
        "clusters": None if clusters is None else int(clusters.max()) + 1,
        "judged_by": "matcher"
        if verdicts is None
        else f"matcher; the judged figures by {verdicts.judged_by}",
        "constants_tried": without_model.tried,
    }
    document["judge"] = None if verdicts is None else dict(verdicts.account)
    return Report(figures, document)


def check_options(top_k: int, bootstrap: int, seed: int) -> None:
    """Raise `InputError` for options that `evaluate` does not take; cheap, so that it can come first."""
    wrong = [
        Problem(f"{name}: found {value}; expected {expected}")
        for name, value, expected, right in (
            ("top_k", top_k, "1 to 50", 1 <= top_k <= 50),
            ("bootstrap", bootstrap, "0 or more", bootstrap >= 0),
            ("seed", seed, "0 or more", seed >= 0),
        )
        if not right
    ]
    if wrong:
        raise InputError(wrong)


def _listed(rankings: Rankings, table: ConceptTable, prior: Floats) -> list[Family]:
    """The families that a list of diagnoses decides alone, and so have baselines."""
    return [
        accuracy.top_k(rankings, table),
        accuracy.rubric(rankings, table),
        safety(rankings, table),
        accuracy.balanced(rankings, table),
        nearness.hierarchy(rankings, table),
        nearness.similarity(rankings, table, prior),
    ]


def _families(rankings: Rankings, table: ConceptTable, prior: Floats) -> list[Family]:
    found = _listed(rankings, table, prior)
    calibrated = confidence.calibration(rankings, table)
    if calibrated is not None:
        found.append(calibrated)
    return [*found, confidence.selective(rankings, table)]


def _prior(rankings: Rankings, table: ConceptTable) -> Floats:
    return np.bincount(rankings.labels, minlength=len(table.concepts)).astype(float)


def _figure(each: Statistic, bound: Interval, without: Baselines, table: ConceptTable) -> Figure:
    value = each.value()
    known = without.by_key.get(each.key)
    defined = bool(np.isfinite(value))
    return Figure(
        each.key,
        each.title,
        value if defined else None,
        *bound,
        each.n,
        known.constant if known else None,
        tuple(table.concepts[i].name for i in known.answer) if known else (),
        known.random if known else None,
        each.better,
        each.unit,
        "" if defined else ("no sample has a part in it" if not each.n else "these samples do not define it"),
    )


def _document(
    predictions: Sequence[Prediction],
    read: Read,
    table: ConceptTable,
    families: Sequence[Family],
    rankings: Rankings,
    by_tone: Fairness | None,
    tone_bounds: Sequence[Interval],
    seed: int,
) -> dict[str, Any]:
    tree = table.taxonomy
    sure = bool(np.isfinite(rankings.confidence).any())
    return {
        "format": FORMAT,
        "taxonomy": {
            "name": tree.name,
            "version": tree.version,
            "note": tree.note,
            "labels": len(tree.labels()),
            "concepts": len(tree),
        },
        "input": {
            "rows": len(predictions),
            "scored": len(read.kept),
            "left_out": dict(read.account.left_out.most_common()),
            "unknown_labels": unknown_labels(read.account, table),
        },
        "families": [
            {
                "key": family.key,
                "title": family.title,
                "text": family.text,
                "figures": [each.key for each in family.statistics],
            }
            for family in families
        ],
        "answers": read.account.as_dict(),
        "confusion": details.confusions(rankings, table),
        "labels": details.labels(rankings, table),
        "fairness": by_tone.as_dict(tone_bounds) if by_tone else None,
        "calibration": {"bins": confidence.bins(rankings, table)} if sure else None,
        "selective": {"curve": confidence.curve(rankings, table)} if sure else None,
        "examples": details.examples(predictions, read, table, seed),
    }


def _nothing(predictions: Sequence[Prediction], read: Read, table: ConceptTable) -> Problem:
    if not predictions:
        return Problem("there are no predictions to score")
    counted = ", ".join(f"{reason}: {n}" for reason, n in read.account.left_out.most_common())
    unknown = unknown_labels(read.account, table)[:3]
    hint = "; ".join(f"{each['label']!r}: {each['nearest']}" for each in unknown)
    return Problem(
        f"none of the {len(predictions)} predictions can be scored with the taxonomy "
        f"{table.taxonomy.name!r} ({counted})",
        hint=hint or "each prediction needs a `diagnosis`; `--labels FILE` adds them by id",
    )

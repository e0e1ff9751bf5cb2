"""Canned answers to the recipe's own records."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.cli.score_plan import ScoredStage, reference_of
from skinflow_plugins.cli.score_records import (
    Row,
    Rows,
    Sample,
    missing_columns,
    source_records,
    wrong_labels,
)
from skinflow_plugins.data.record import Record
from skinflow_plugins.data.rows import balanced_forever
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.diagnosis.answers import read_answer
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.recipe.schema import Recipe
from skinflow_plugins.rewards.canned import Canned, canned_answers

MOST = 480  # training records that are read of a source which makes them one by one
HUGE = 2  # records of a stage that get the answers of 100,000 tokens
COLUMN = {"caption": "caption", "ranked_list": "diagnosis"}


def canned_rows(
    recipe: Recipe,
    known: Catalogue,
    stages: Sequence[ScoredStage],
    work: Path,
    limit: int,
    seed: int,
) -> Rows:
    """Canned answers to `limit` training records, drawn at random, for every stage.

    Raises `InputError` with all columns that a reward would miss, and all labels that nobody could match.
    """
    read, whole = _training(recipe, known, work)
    if not read:
        raise InputError(Problem(f"the source {recipe.data.source} gave no training records", path="data"))
    pool = [record.sample() for record in read]
    problems: list[Problem] = []
    chosen: dict[str, list[Sample]] = {}
    for stage in stages:
        column = COLUMN[stage.target]
        problems += missing_columns(stage, pool, [column])
        able = [sample for sample in pool if sample.get(column)]
        chosen[stage.name] = _drawn(able, stage.balance, min(limit, len(able)), seed)
        problems += wrong_labels(stage, able)
    if problems:
        raise InputError(at_most(list(dict.fromkeys(problems))))
    count = max(len(some) for some in chosen.values())
    origin = f"canned answers to {count} of {len(pool)} training records of {recipe.data.source}"
    notes = [] if whole else [f"only the first {len(pool)} training records were looked at"]
    return Rows(
        origin, {stage.name: _canned(stage, chosen[stage.name], pool, seed) for stage in stages}, notes
    )


def _drawn(samples: Sequence[Sample], balance: str | None, count: int, seed: int) -> list[Sample]:
    """`count` samples at random, balanced as the stage's batches are; the same for stages that agree."""
    rng = random.Random(f"{seed}/score")
    if balance is None:
        return rng.sample(samples, count)
    stream = balanced_forever(samples, lambda sample: sample.get(balance), rng)
    return list(itertools.islice(stream, count))


def _canned(stage: ScoredStage, samples: Sequence[Sample], pool: Sequence[Sample], seed: int) -> list[Row]:
    rows = []
    others = [each for each in pool if each.get(COLUMN[stage.target])]
    both = any({"caption", "diagnosis"} <= set(each.reward.needs) for each in stage.components)
    for number, sample in enumerate(samples):
        references = {
            each.reward.name: answer
            for each in stage.components
            if (answer := reference_of(each.reward, sample, each.options)) is not None
        }
        made = canned_answers(
            stage.target,
            sample,
            others=others,
            taxonomy=stage.taxonomy,
            fields=stage.fields,
            list_length=stage.question.length,
            prompt=stage.question.prompt,
            seed=seed,
            huge=number < HUGE,
            confidences=any(map(_states_confidence, references.values())),
            descriptions=both,
        )
        good = {each.answer for each in made if each.kind == "good"}
        for name, answer in references.items():
            if answer not in good:
                good.add(answer)
                made.append(Canned("good", f"the reference of {name}", answer))
        rows += [Row(number, sample, each.answer, each) for each in made]
    return rows


def _states_confidence(answer: str) -> bool:
    return any(said is not None for said in read_answer(answer, 1).confidences)


def _training(recipe: Recipe, known: Catalogue, work: Path) -> tuple[list[Record], bool]:
    """The training records, and whether they are all."""
    records, at_hand = source_records(recipe, known, work)
    training = (record for record in records if record.split == "train")
    found = list(training if at_hand else itertools.islice(training, MOST))
    return found, at_hand or len(found) < MOST

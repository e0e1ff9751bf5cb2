"""The completions of a file, joined with the recipe's records."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.cli.score_plan import ScoredStage
from skinflow_plugins.cli.score_records import (
    Row,
    Rows,
    Sample,
    missing_columns,
    source_records,
    wrong_labels,
)
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.recipe.schema import Recipe


def completion_rows(
    recipe: Recipe,
    known: Catalogue,
    stages: Sequence[ScoredStage],
    work: Path,
    file: Path,
    *,
    columns: Mapping[str, str],
    limit: int | None,
    seed: int,
    named: bool,
) -> Rows:
    """The completions of a file for the stages that ask their tasks, with the columns that the rewards need.

    `named`: the user has named the one stage, and a file whose rows name no task of it is all about it.
    Raises `InputError` with all that is missing.
    """
    from skinflow_plugins.data.predictions import read_predictions

    found = read_predictions(file, columns=columns, repeated=True)
    of: dict[str, list[Row]] = {}
    tasks = {one.task for one in found.predictions}
    for stage in stages:
        mine = [
            one for one in found.predictions if one.task == stage.task or (named and stage.task not in tasks)
        ]
        ids = list(dict.fromkeys(one.id for one in mine))
        if limit is not None and limit < len(ids):
            kept = set(random.Random(f"{seed}/score").sample(ids, limit))
            mine = [one for one in mine if one.id in kept]
        numbers = {id: number for number, id in enumerate(ids)}
        of[stage.name] = [Row(numbers[one.id], {**one.sample, "id": one.id}, one.answer) for one in mine]
    if not any(of.values()):
        asked = ", ".join(sorted({stage.task for stage in stages}))
        message = f"the completions answer {', '.join(sorted(tasks))}, and the stages ask {asked}"
        raise InputError(Problem(message, str(file), hint="name the stage that they are for with --stage"))
    notes = list(found.notes)
    _join(recipe, known, stages, work, of, notes)
    problems: list[Problem] = []
    for stage in stages:
        samples = [row.sample for row in of[stage.name]]
        problems += [*missing_columns(stage, samples, []), *wrong_labels(stage, samples)]
    if problems:
        raise InputError(at_most(list(dict.fromkeys(problems))))
    for stage in stages:
        if not of[stage.name]:
            notes.append(f"no completion answers {stage.task}, which the stage {stage.name} asks")
    origin = f"{len(found.predictions)} completions of {file.name}"
    return Rows(origin, of, notes)


def _joined(known: Sample, own: Sample) -> Sample:
    """The columns of both; the file's own go first, but one that is null there says nothing."""
    return {**known, **{name: value for name, value in own.items() if value is not None or name not in known}}


def _join(
    recipe: Recipe,
    known: Catalogue,
    stages: Sequence[ScoredStage],
    work: Path,
    of: dict[str, list[Row]],
    notes: list[str],
) -> None:
    """Add the columns of the recipe's data, by id, to samples that lack one which a reward needs."""
    lacking = {
        str(row.sample["id"])
        for stage in stages
        for row in of[stage.name]
        if any(row.sample.get(column) is None for column in stage.needs)
    }
    if not lacking:
        return
    known_samples: dict[str, Sample] = {}
    for record in source_records(recipe, known, work)[0]:
        if record.id in lacking:
            known_samples[record.id] = record.sample()
            if len(known_samples) == len(lacking):
                break
    for stage in stages:
        of[stage.name] = [
            Row(row.number, _joined(known_samples.get(str(row.sample["id"]), {}), row.sample), row.answer)
            for row in of[stage.name]
        ]
    notes.append(f"{len(known_samples)} records of {recipe.data.source} joined by id")
    absent = sorted(lacking - known_samples.keys())
    if absent:
        notes.append(f"ids that {recipe.data.source} does not have: {len(absent)} (first: {absent[0]!r})")

"""The records that a recipe's answers are about, and whether the rewards find in them what they need."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.cli.score_plan import ScoredStage
from skinflow_plugins.data.record import Record
from skinflow_plugins.diagnosis.metrics import reference_caption, true_concept
from skinflow_plugins.errors import InputError, Problem, SkinflowError, nearest
from skinflow_plugins.recipe.load import filled_options
from skinflow_plugins.recipe.schema import Recipe
from skinflow_plugins.rewards.canned import Canned

Sample = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One answer to one sample; `canned` says what it is when it was made here.

    Answers with one `number` are a group: those to one drawing of a record, which a balanced stage may draw
    again.
    """

    number: int
    sample: Sample
    answer: str
    canned: Canned | None = None


@dataclass(frozen=True)
class Rows:
    """The answers by stage, a sentence about where they are from, and what else a user should know."""

    origin: str
    of: Mapping[str, list[Row]]
    notes: list[str] = field(default_factory=list)


def source_records(recipe: Recipe, known: Catalogue, work: Path) -> tuple[Iterator[Record], bool]:
    """The recipe's records, with the caption fields that it asks for; and whether they are all at hand.

    A source that draws or decodes makes them one by one, and is better not read whole. `InputError` when the
    source fails.
    """
    source = known.get("datasets", recipe.data.source)
    with _blamed(recipe):
        found = iter(source(work / "records", **filled_options(recipe, source, recipe.data.options)))
    at_hand = operator.length_hint(found) > 0  # the iterator of a list knows its length, a generator does not

    def records() -> Iterator[Record]:
        with _blamed(recipe):
            for record in found:
                caption = {name: record.caption[name] for name in recipe.captions if name in record.caption}
                yield dataclasses.replace(record, caption=caption)

    return records(), at_hand


@contextlib.contextmanager
def _blamed(recipe: Recipe) -> Iterator[None]:
    """Whatever a third party's source raises is an `InputError` about `data`."""
    try:
        yield
    except (SkinflowError, GeneratorExit):
        raise
    except Exception as error:
        message = f"the source {recipe.data.source!r} failed: {type(error).__name__}: {error}"
        raise InputError(Problem(message, path="data")) from error


def missing_columns(stage: ScoredStage, samples: Sequence[Sample], besides: Sequence[str]) -> list[Problem]:
    """Columns that a reward needs and a sample lacks; of `besides`, those that no sample has."""
    there = {name for sample in samples for name, value in sample.items() if value is not None}
    problems = []
    for column, reward in stage.needs.items():
        without = [sample for sample in samples if sample.get(column) is None]
        if without:
            who = f"the reward {reward!r} of the stage {stage.name!r} needs the column {column!r}"
            many = f"{len(without)} of {len(samples)} samples do not have it"
            first = f"(first: {without[0].get('id', '?')})"
            problems.append(
                Problem(f"{who}; {many} {first}", path="data", hint=nearest(column, there - {column}))
            )
    for column in besides:
        if column not in there and column not in stage.needs:
            message = f"canned answers of the task {stage.task!r} are made from the column {column!r}"
            problems.append(
                Problem(f"{message}, which no record has", path="data", hint=nearest(column, there))
            )
    return problems


def wrong_labels(stage: ScoredStage, samples: Sequence[Sample]) -> list[Problem]:
    """Diagnoses that the taxonomy does not know and captions outside of the schema, each once."""
    problems: dict[str, Problem] = {}
    for sample in samples:
        try:
            if stage.target == "caption" and sample.get("caption"):
                reference_caption(sample, stage.fields)
            if stage.target == "ranked_list" and stage.taxonomy is not None and sample.get("diagnosis"):
                true_concept(sample, stage.taxonomy)
        except ValueError as error:
            key = str(sample.get("diagnosis")) if stage.target == "ranked_list" else str(error)
            problems.setdefault(key, Problem(str(error), path="data"))
    return list(problems.values())

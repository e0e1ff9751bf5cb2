"""What every record must have before anything is trained: labels, caption values, columns in use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.data.record import Record
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.errors import Problem, nearest
from skinflow_plugins.recipe.plan import stage_rewards, taxonomy_source
from skinflow_plugins.recipe.schema import Recipe


def check_records(recipe: Recipe, catalogue: Catalogue, records: Sequence[Record]) -> list[Problem]:
    """Labels that a taxonomy lacks, caption values outside the schema, and columns that a reward would miss.

    A reward would find them one by one, in the middle of a run; a metric only after it.
    """
    if not records:
        return []
    return [
        *at_most(list(_labels(recipe, catalogue, records))),
        *_fields(recipe, records),
        *at_most(list(_values(recipe, records))),
        *at_most(list(_columns(recipe, catalogue, records))),
    ]


def _targets(recipe: Recipe) -> set[str]:
    return {task.target for task in recipe.tasks.values()}


def _labels(recipe: Recipe, catalogue: Catalogue, records: Sequence[Record]) -> Iterator[Problem]:
    """Diagnoses that cannot be matched, once each, for every taxonomy that a reward or the report reads."""
    if "ranked_list" not in _targets(recipe):
        return
    named = {recipe.taxonomy, recipe.eval.taxonomy}
    for stage in recipe.stages:
        named |= {plan.options.get("taxonomy") for plan in stage_rewards(recipe, catalogue, stage)}
    first: dict[str, Record] = {}
    for record in records:
        if record.diagnosis is not None:
            first.setdefault(record.diagnosis, record)
    for source in sorted(taxonomy_source(catalogue, name) for name in named if name):
        tree = load_taxonomy(source)
        for label, record in first.items():
            if tree.label(label) is None and tree.knows(label):
                message = f"the diagnosis {label!r} is a general word of the taxonomy {tree.name!r}"
                yield Problem(message, path="data", where=record.id, hint="give the disease, or leave it out")
            elif tree.label(label) is None:
                known = nearest(label, (concept.name for concept in tree.concepts.values()))
                message = f"the diagnosis {label!r} is not in the taxonomy {tree.name!r}; {known}"
                yield Problem(message, path="data", where=record.id)


def _fields(recipe: Recipe, records: Sequence[Record]) -> Iterator[Problem]:
    """A field that the recipe asks for and no record has is a misspelling of one side."""
    if "caption" not in _targets(recipe):
        return
    there = {name for record in records for name in record.caption}
    for name in recipe.captions:
        if name not in there:
            message = f"no record has the caption field {name!r}; {nearest(name, there)}"
            yield Problem(message, path=f"captions.{name}")


def _values(recipe: Recipe, records: Sequence[Record]) -> Iterator[Problem]:
    """Caption values that the schema does not have, compared as rewards compare them: without case."""
    schema = {name: {value.casefold() for value in values} for name, values in recipe.captions.items()}
    for record in records:
        for name, values in record.caption.items():
            for value in values:
                if name in schema and value.casefold() not in schema[name]:
                    known = nearest(value, recipe.captions[name])
                    message = f"{name}: {value!r} is not a value of this field; {known}"
                    yield Problem(message, where=record.id, path=f"captions.{name}")


def _columns(recipe: Recipe, catalogue: Catalogue, records: Sequence[Record]) -> Iterator[Problem]:
    """Columns that a stage reads and a record lacks; training records for every stage."""
    wanted: dict[str, str] = {}
    for stage in recipe.stages:
        for plan in stage_rewards(recipe, catalogue, stage):
            for column in catalogue.get("rewards", plan.reward).needs:
                wanted.setdefault(column, f"the reward {plan.reward!r}")
        for task in stage.teach:
            column = "caption" if recipe.tasks[task].target == "caption" else "diagnosis"
            wanted.setdefault(column, f"the task {task!r}")
        if stage.balance:
            wanted.setdefault(stage.balance, "`balance`")
    for record in records:
        sample = record.sample()
        for column, who in wanted.items():
            if column not in sample:
                yield Problem(
                    f"the record has no {column!r}, which {who} needs", where=record.id, path="data"
                )

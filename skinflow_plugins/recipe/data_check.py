"""What a recipe's data source shows of itself, and whether its columns are those that the stages read."""

from __future__ import annotations

from skinflow_plugins.data.record import Head
from skinflow_plugins.declare import Dataset
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe import lines
from skinflow_plugins.recipe.complaints import Complaints
from skinflow_plugins.recipe.load import filled_options
from skinflow_plugins.recipe.schema import Stage

ALWAYS_THERE = frozenset({"id"})
"""Columns of every sample, whatever the source."""


def check_data(found: Complaints) -> Head | None:
    """What the data source shows of itself; None when it cannot be asked or finds something wrong."""
    data = found.recipe.data
    if not data.source:
        return None
    entry = found.catalogue.table("datasets").get(data.source)
    if entry is None:
        found.wrong(("data", "source"), found.catalogue.unknown("datasets", data.source))
        return None
    source: Dataset = entry.value
    if not found.options(("data",), source, data.options, ["source"]) or not found.is_sound(("data",)):
        return None
    if source.head is None:
        return None
    try:
        head = source.head(filled_options(found.recipe, source, data.options))
    except InputError as error:
        found.problems += error.problems
        return None
    except Exception as error:  # a plug-in's code may fail in any way; the other checks go on
        message = f"the source {data.source!r} failed: {type(error).__name__}: {error}"
        found.wrong(("data",), message, f"it comes from {entry.owner}")
        return None
    for sentence in head.problems:
        # A sentence may begin with the option that it is about.
        name, colon, rest = sentence.removeprefix("data.").partition(": ")
        about = colon and any(name == option.name for option in source.options)
        found.wrong(("data", name) if about else ("data",), rest if about else sentence)
    return None if head.problems else head


def check_columns(found: Complaints, number: int, stage: Stage, head: Head) -> None:
    """That the data has the columns which the stage's rewards, tasks and balance read."""
    there = head.columns | ALWAYS_THERE
    source = found.recipe.data.source
    wanted: list[tuple[lines.Path, str, str]] = []
    for path, use in found.uses(number, stage):
        entry = found.catalogue.table("rewards").get(use.name)
        needs = entry.value.needs if entry else ()
        wanted += [(path, column, f"the reward {use.name!r} needs") for column in needs]
    for name in stage.teach:
        if (task := found.recipe.tasks.get(name)) is not None:
            column = "caption" if task.target == "caption" else "diagnosis"
            wanted.append((("stages", number, "teach", name), column, f"the task {name!r} teaches"))
    if stage.balance is not None:
        wanted.append((("stages", number, "balance"), stage.balance, "batches are balanced over"))
    for path, column, who in wanted:
        if column not in there:
            known = ", ".join(sorted(there))
            message = f"{who} the column {column!r}, which the source {source!r} does not have"
            found.wrong(path, message, f"it has: {known}")

"""Labels of a file of their own, put to the predictions that they are about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from skinflow_plugins.data.prediction_formats.checked import Checked, Found
from skinflow_plugins.data.prediction_formats.files import Table
from skinflow_plugins.data.prediction_formats.labels import Labels, differ, examples, read_labels
from skinflow_plugins.data.prediction_formats.values import brief
from skinflow_plugins.errors import InputError, Problem


@dataclass(frozen=True, slots=True)
class _Match:
    label: str | None
    by_image: bool = False
    other: str | None = None  # what the image's name says, where it says something else


def add_labels(
    checked: Checked, table: Table, label_table: Table, columns: Mapping[str, str], notes: list[str]
) -> None:
    """Put the labels into the samples of `checked`; problems are added there, and sentences to `notes`."""
    try:
        labels = read_labels(label_table, columns)
    except InputError as error:
        checked.problems += error.problems
        return
    matches = [_match(labels, one) for one in checked.found]
    where, file = str(table.file), labels.file.name
    if checked.found and not any(match.label for match in matches):
        message = (
            f"no prediction has a label in {labels.file}: ids here"
            f" {examples(one.id for one in checked.found)}, there {examples(labels.rows)}"
            f" (column {labels.read['id']!r})"
        )
        checked.problems.append(Problem(message, where, hint="`columns` names another column for the id"))
        return
    for one, match in zip(checked.found, matches, strict=True):
        if match.label is not None:
            checked.problems += _put(one, labels, match.label, match.other, where)
    used = {match.label for match in matches if match.label is not None}
    by_image = sum(match.by_image for match in matches)
    read = ", ".join(f"{name} from {column!r}" for name, column in labels.read.items())
    notes.append(f"labels of {file}: {read}")
    notes += labels.notes
    if by_image:
        notes.append(f"predictions whose label in {file} was found by the name of their image: {by_image:,}")
    if missing := sum(match.label is None for match in matches):
        notes.append(f"predictions without a row in {file}: {missing:,}")
    if spare := len(labels.rows) - len(used):
        notes.append(f"rows of {file} without a prediction: {spare:,}")


def _match(labels: Labels, one: Found) -> _Match:
    by_id = labels.find(one.key)
    image = one.sample.get("image")
    by_image = labels.find(image) if image else None
    if by_id is None:
        return _Match(by_image, by_image=by_image is not None)
    # A number, such as a question's place in its data set, may by chance be another image's id.
    return _Match(by_id, by_image=by_id != one.key, other=by_image if by_image not in (None, by_id) else None)


def _put(one: Found, labels: Labels, label: str, other: str | None, where: str) -> list[Problem]:
    line, known = labels.rows[label]
    there = f"{labels.file}:{line}"
    if other is not None:
        image = brief(one.sample["image"])
        message = f"the id {brief(one.key)} is the label row {there}, but the image {image} is line"
        message += f" {labels.rows[other][0]} of it"
        return [Problem(message, where, one.line, hint="`columns` names another column for the id")]
    problems = []
    for name, value in known.items():
        own = one.sample.get(name)
        if own is not None and differ(own, value):
            message = f"found {brief(own)} for {brief(one.id)}; {there} says {brief(value)}"
            hint = f"take it out of one file, or name the right one: columns {name}={labels.read[name]}"
            problems.append(Problem(message, where, one.line, name, hint))
        else:
            one.sample[name] = value
    return problems

"""Whose rows a file holds, from the names in it."""

from __future__ import annotations

from collections.abc import Mapping

from skinflow_plugins.data.prediction_formats.evalscope import EVALSCOPE
from skinflow_plugins.data.prediction_formats.files import Container, Table
from skinflow_plugins.data.prediction_formats.infer_result import SWIFT
from skinflow_plugins.data.prediction_formats.ours import CSV, JSONL
from skinflow_plugins.data.prediction_formats.row import Format
from skinflow_plugins.data.prediction_formats.values import brief
from skinflow_plugins.data.prediction_formats.vlmevalkit import VLMEVALKIT
from skinflow_plugins.errors import InputError, Problem, nearest

FORMATS: Mapping[str, Format] = {f.name: f for f in (JSONL, SWIFT, VLMEVALKIT, EVALSCOPE, CSV)}
_SPOKEN: Mapping[Container, str] = {"jsonl": "JSON Lines", "table": "a table", "xlsx": "XLSX"}
_SHOWN = 30  # names of the user's in one message


def named_format(name: str) -> Format:
    """The format of that name; `InputError` with the nearest name."""
    if name not in FORMATS:
        raise InputError(Problem(f"unknown format {name!r}", hint=nearest(name, FORMATS)))
    return FORMATS[name]


def recognise(table: Table, names: frozenset[str], wanted: Format | None = None) -> tuple[Format, str]:
    """The format of a file that holds `names`, and a sentence that says how it was found."""
    where = str(table.file)
    if wanted:
        if table.container not in wanted.containers:
            expected = " or ".join(_SPOKEN[one] for one in wanted.containers)
            message = f"the file is {_SPOKEN[table.container]}; the format {wanted.name} is {expected}"
            raise InputError(Problem(message, where))
        return wanted, f"read as {wanted.name} ({wanted.title}), as asked"
    able = [one for one in FORMATS.values() if table.container in one.containers and one.matches(names)]
    if VLMEVALKIT in able and "question" in names:
        able = [VLMEVALKIT]  # benchmarks have ids too; `answer` beside a question is the label
    if len(able) == 1:
        return able[0], f"read as {able[0].name} ({able[0].title}): the file has {able[0].needs}"
    found = ", ".join(brief(name) for name in sorted(names)[:_SHOWN]) + (
        " and others" if len(names) > _SHOWN else ""
    )
    kind = _SPOKEN[table.container]
    if able:
        wants = " and ".join(one.name for one in able)
        message = f"the rows could be of several formats: {wants}; found ({kind}): {found}"
        raise InputError(Problem(message, where, hint=f"name the format; {_needs()}"))
    message = f"whose predictions these are cannot be told; found ({kind}): {found or 'no names'}"
    raise InputError(Problem(message, where, hint=f"{_guess(names)}{_needs()}"))


def _needs() -> str:
    return "what each needs:" + "".join(f"\n      {one.name}: {one.needs}" for one in FORMATS.values())


def _guess(names: frozenset[str]) -> str:
    """A sentence about the likely mistake, where there is one."""
    if {"messages", "answer"} <= names or {"query", "response"} <= names:
        return "these look like the questions of a data set and not like a model's answers to them; "
    for needed in ("answer", "id", "response", "prediction"):
        close = nearest(needed, names) if needed not in names else ""
        if close.startswith("did you mean"):
            return f"no {needed!r}: {close} "
    return ""

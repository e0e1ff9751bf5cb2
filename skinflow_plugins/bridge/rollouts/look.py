"""`skinflow doctor --parity`: a GRPO stage of a recipe, started for nothing but the check at its start."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.entry_path import plugin_path
from skinflow_plugins.bridge.launch import launch, stage_argv
from skinflow_plugins.bridge.prepare import Say, write_base, write_plan
from skinflow_plugins.bridge.rollouts.parity import Difference, Parity
from skinflow_plugins.bridge.rollouts.reach import reach
from skinflow_plugins.bridge.settings import REPORT_VARIABLE
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.data.record import Record
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe.plan import plan
from skinflow_plugins.recipe.schema import Recipe, Stage


def look(
    recipe: Recipe, catalogue: Catalogue, stage: Stage, records: Sequence[Record], root: Path, say: Say
) -> Parity:
    """What trainer and engine make of a handful of rows, for this stage from the base model, in `root`.

    Raises `InputError` and `WorkFailed` when the stage cannot be started.
    """
    alone = dataclasses.replace(stage, init="base", gate=None, replay=None)
    planned = plan(dataclasses.replace(recipe, stages=(alone,)), catalogue, root=root, plugin=plugin_path())
    (twin,) = planned.stages
    write_base(planned, catalogue, records, lambda _: None)
    write_plan(planned, records)
    report = root / "parity.json"
    environment = {
        **twin.environment,
        REPORT_VARIABLE: str(report),
        "MODELSCOPE_CACHE": str(root / "cache"),  # swift keeps a copy of every data file there, for ever
    }
    how, more, ports = reach(planned.recipe, twin, say)
    try:
        with _output_to(root / "parity.log"):
            argv = [*stage_argv(planned, twin, how), *more]
            launch(how, twin.command, argv, {**environment, **ports}, what="the parity check")
    except WorkFailed as error:
        raise WorkFailed(f"{error}\n    {_end_of(root / 'parity.log')}") from error
    if not report.is_file():
        raise WorkFailed(f"the parity check left no report\n    {_end_of(root / 'parity.log')}")
    return _read(json.loads(report.read_text(encoding="utf-8")))


def _read(found: dict[str, Any]) -> Parity:
    del found["problems"], found["summary"]
    for name in ("before", "after", "moved"):
        found[name] = None if found[name] is None else Difference(**found[name])
    return Parity(**found)


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Both output streams of this process and of its children into a file, for a while."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with path.open("w") as file:
            for number in kept:
                os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, stream in kept.items():
            os.dup2(stream, number)
            os.close(stream)


def _end_of(path: Path, lines: int = 8) -> str:
    """The last lines of a log that say something."""
    found = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return "\n    ".join(found[-lines:])

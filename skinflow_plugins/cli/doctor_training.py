"""The part of `skinflow doctor` about training: what each stage trains, and whether it gets a gradient."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.doctor import Finding
from skinflow_plugins.cli.doctor_recipe import INDENT, folder_of
from skinflow_plugins.errors import InputError, SkinflowError

if TYPE_CHECKING:
    from skinflow_plugins.bridge.model_parts import Part
    from skinflow_plugins.bridge.probe import Probe
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.data.record import Record
    from skinflow_plugins.recipe.schema import Recipe, Stage

SHOWN = 3
OF_REWARDS = (
    "gradients: of the supervised loss on the reference answers, because the rewards of a model that has",
    "learnt nothing may all be equal, and then nothing has a gradient",
)


def findings(recipe: Recipe, known: Catalogue, step: bool | None) -> Iterator[Finding]:
    """What every stage of a checked recipe trains; `step` says whether to look, None: where that is cheap."""
    from skinflow_plugins.recipe.families import TINY, family_for

    tiny = recipe.model.base.startswith(TINY)
    if not (tiny if step is None else step):
        todo = "`skinflow doctor RECIPE --step` loads the base model and makes one step of each stage"
        yield Finding("ok", "what trains, and whether it gets a gradient, was not looked at", todo)
        return
    if not tiny:
        folder = folder_of(recipe.model.base)
        if folder is None:
            todo = f"hf download {recipe.model.base}"
            yield Finding("warning", "no step could be made: the base model is not on this machine", todo)
            return
        family = family_for(recipe.model, known).name
        # The folder itself, so that nobody asks a hub about it.
        model = dataclasses.replace(recipe.model, base=str(folder.absolute()), family=family)
        recipe = dataclasses.replace(recipe, model=model)
    with tempfile.TemporaryDirectory(prefix="skinflow-doctor-") as name:
        yield from _stages(recipe, known, Path(name))


def _stages(recipe: Recipe, known: Catalogue, root: Path) -> Iterator[Finding]:
    from skinflow_plugins.cli.quiet import hush

    hush(root)
    from skinflow_plugins.bridge.prepare import source_records

    try:
        records = source_records(recipe, known, root)
    except SkinflowError as error:
        yield from _failed(error)
        return
    for number, stage in enumerate(recipe.stages):
        try:
            found = _probe(recipe, known, stage, records, root)
        except SkinflowError as error:
            yield from _failed(error)
        else:
            yield from said(recipe, number, found)
    yield Finding("ok", "each stage was looked at in one step from the base model; nothing of it was kept")


def _probe(recipe: Recipe, known: Catalogue, stage: Stage, records: Sequence[Record], root: Path) -> Probe:
    from skinflow_plugins.bridge.probe import import_swift, probe

    import_swift()  # its log must not hold on to the streams that are put in its way below
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return probe(recipe, known, stage, records, root)


def _failed(error: SkinflowError) -> Iterator[Finding]:
    problems = [str(problem) for problem in error.problems] if isinstance(error, InputError) else [str(error)]
    for text in problems:
        yield Finding("problem", INDENT.join(line.strip() for line in text.splitlines()))


# --- words -------------------------------------------------------------------------------------------------


def said(recipe: Recipe, number: int, probe: Probe) -> Iterator[Finding]:
    """The table of one stage, then everything about it that is not as it should be."""
    stage = recipe.stages[number]
    who = f"stage {stage.name} ({stage.kind})"
    if not probe.trained:
        message = f"{who} trains nothing: all {probe.parameters:,} parameters are frozen"
        yield Finding("problem", message, "look at `tuning:`, and at the arguments freeze_... under `swift:`")
        return
    share = 100 * probe.trained / probe.parameters
    head = f"{who}: {probe.trained:,} of {probe.parameters:,} parameters train ({share:.2f} %)"
    lines = _table(probe)
    if stage.kind == "grpo":
        lines += OF_REWARDS
    yield Finding("ok", head, INDENT.join(lines))
    yield from _frozen_tower(recipe, number, probe)
    for part in probe.parts:
        yield from _silent(who, part)


def _table(probe: Probe) -> list[str]:
    from skinflow_plugins.cli.table import columns

    rows: list[Sequence[str]] = [("part", "parameters", "of them train", "", "gradient norm")]
    for part in probe.parts:
        share = f"{100 * part.trained / part.parameters:.1f} %"
        norm = "none" if part.norm is None else f"{part.norm:.3g}"
        rows.append((part.name, f"{part.parameters:,}", f"{part.trained:,}", share, norm))
    return columns(rows).splitlines()


def _frozen_tower(recipe: Recipe, number: int, probe: Probe) -> Iterator[Finding]:
    """A warning where no weight of the tower trains, though `tuning` does not say that it shall not."""
    from skinflow_plugins.bridge.model_parts import LORA, TOWER
    from skinflow_plugins.recipe import lines, tuning

    stage = recipe.stages[number]
    if probe.part(TOWER).trained or probe.part(LORA + TOWER).trained:
        return
    if tuning.resolve(recipe, stage).encoder == "frozen":
        return
    who = f"stage {stage.name} ({stage.kind})"
    todo = "look at the arguments freeze_... under `swift:`"
    if tuning.effective(recipe, stage).get("freeze_vit"):
        where = lines.shown(tuning.where(recipe, number, "freeze_vit", "encoder"))
        todo = f"{where} is true: leave it out"
    yield Finding(
        "warning",
        f"{who} leaves the vision tower frozen, and `tuning` does not ask for it",
        f"{todo}, or write tuning: {{encoder: frozen}} if it is meant",
    )


def _silent(who: str, part: Part) -> Iterator[Finding]:
    """What trains in name only: after the step its gradient is zero, or not a number."""
    from skinflow_plugins.bridge.model_parts import ROUTERS

    if part.norm is not None and not math.isfinite(part.norm):
        message = f"{who}: the gradient of the {part.name} is not a finite number"
        yield Finding("problem", message, "look at torch_dtype and at the base model's weights")
    if not part.silent:
        return
    count, what = len(part.silent), "routers" if part.name == ROUTERS else f"modules of the {part.name}"
    reached = "any" if count == part.modules else count
    message = f"{who}: no gradient reaches {reached} of {part.modules} {what}"
    names = [*part.silent[:SHOWN], *([f"and {count - SHOWN} more"] if count > SHOWN else [])]
    names.append("they train in name only: nobody reads what they compute, or something cuts them off")
    yield Finding("warning", message, INDENT.join(names))

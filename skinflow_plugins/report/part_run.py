"""The run behind the figures: its stages, what each reached, and its curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Facts, Folded, Heading, Plots, Points, Says, Section, Shown
from skinflow_plugins.report.curves import TOTAL, Curve, span, thinned
from skinflow_plugins.report.figures import Figure
from skinflow_plugins.report.part_summary import HEADLINE
from skinflow_plugins.report.plots import FREE, SERIES, Line, Plot, Scale, draw_lines
from skinflow_plugins.report.run_story import RunStory, StageStory
from skinflow_plugins.report.tables import Cell, Raw, Table, table

TITLE = "Training run"
_LOGGED = {  # in the order of the plots
    "loss": ("Loss", "As the trainer logs it."),
    "kl": ("KL divergence", "How far the policy has moved from the model that the stage began with."),
    "token_acc": ("Token accuracy", "Share of the taught tokens that the model puts first."),
}
MOST_EVALUATIONS = 4


def training(run: RunStory | None, figures: Mapping[str, Figure]) -> Section:
    """Recipe, table of results, stages and curves."""
    if run is None:
        text = "No training run: this report was made from predictions alone."
        return Section("run", TITLE, "", [Says(text, "why")])
    blocks: list[Block] = [Facts(_facts(run))]
    if run.missing:
        blocks.append(Says("Not all of the run is there:", "why"))
        blocks.append(Points(run.missing))
    if run.rows:
        blocks.append(Shown(_results(run)))
    if run.stages:
        blocks.append(Shown(_stages(run)))
        for stage in run.stages:
            blocks.append(Heading(f"Stage {stage.number}: {stage.name}"))
            blocks += _curves(stage, figures)
    else:
        blocks.append(Says("The recipe of this run has no stages.", "why"))
    blocks.append(Folded("The whole recipe", text=_recipe(run.recipe)))
    return Section("run", TITLE, str(run.recipe.get("summary") or ""), blocks)


def _facts(run: RunStory) -> list[tuple[str, str]]:
    seconds = [stage.seconds for stage in run.stages if stage.seconds is not None]
    return [
        ("Recipe", run.name),
        ("Base model", run.base or "not recorded"),
        ("Seed", str(run.recipe.get("seed", "not recorded"))),
        ("Folder", run.folder),
        ("Training time", wording.duration(sum(seconds)) if seconds else "not recorded"),
        ("State", _state(run)),
        *_alarms(run),
        ("SHA-256 of the recipe", run.digest or "not recorded"),
    ]


def _alarms(run: RunStory) -> list[tuple[str, str]]:
    """How many alarms each watched stage has raised; nothing where no stage was watched."""
    watched = [stage for stage in run.stages if stage.watched]
    raised = [f"{stage.name}: {len(stage.watched.alarms)}" for stage in watched if stage.watched.alarms]
    return [("Alarms", ", ".join(raised) or "none")] if watched else []


def _state(run: RunStory) -> str:
    missed = [stage.name for stage in run.stages if stage.gate is not None and not stage.gate.passed]
    if missed:
        return f"missed the gate of stage {wording.and_so(missed)}"
    return "all stages finished" if run.finished else "not finished"


def _results(run: RunStory) -> Table:
    names = list(dict.fromkeys(key for row in run.rows for key in row if key not in ("name", "records")))
    rows = [
        [
            str(row.get("name")),
            wording.count(row.get("records")),
            *(_metric(name, row.get(name)) for name in names),
        ]
        for row in run.rows
    ]
    heads = ["", "Records", *(name.replace("_", " ") for name in names)]
    return table(f"What the stages reached on the {run.split or '?'} split, greedy decoding", heads, rows)


def _metric(name: str, value: object) -> str:
    found = wording.finite(value)
    if found is None:
        return wording.NONE
    return f"{found:.0f}" if name.startswith("distinct") else f"{found:.3f}"


def _stages(run: RunStory) -> Table:
    rows: list[list[Raw]] = []
    for stage in run.stages:
        gate = Cell("none")
        if stage.gate is not None:
            word = "passed" if stage.gate.passed else "missed"
            reached = f"{stage.gate.metric} {stage.gate.value:.3f}, needs {stage.gate.at_least:g}"
            gate = Cell(word, below=reached, kind=f"gate-{word}")
        state = "finished" if stage.finished else "not finished"
        rows.append(
            [
                Cell(f"{stage.number} {stage.name}", below=f"{state}, resumed" if stage.resumed else state),
                " ".join(filter(None, (stage.kind, stage.task))) or wording.NONE,
                ", ".join(stage.rewards_asked) or "none",
                wording.count(stage.last_step),
                wording.count(stage.completions) if stage.completions else wording.NONE,
                wording.duration(stage.seconds),
                gate,
            ]
        )
    heads = ("Stage", "Kind", "Rewards", "Steps", "Completions", "Time", "Gate")
    return table("Stages", heads, rows, words=(1, 2, 6))


def _curves(stage: StageStory, figures: Mapping[str, Figure]) -> list[Block]:
    key = f"run-{stage.number}"
    blocks: list[Block] = []
    if stage.missing:
        blocks.append(Points(stage.missing))
    plots: list[Plot] = []
    if stage.rewards:
        lines = [_line(curve, number) for number, curve in enumerate(stage.rewards)]
        note = _note("Mean over the completions of each step.", stage.rewards[0])
        plots.append(draw_lines(f"{key}-rewards", "Rewards", lines, x="step", note=note))
    elif not stage.rewards_asked:
        blocks.append(Says("This stage asks for no rewards: it is taught by example.", "why"))
    if stage.length is not None:
        line = _line(stage.length, 0)
        note = _note(
            f"Mean in {stage.length_unit}" + (", shortest to longest as band." if line.low else "."),
            stage.length,
        )
        plots.append(draw_lines(f"{key}-length", "Length of completions", [line], x="step", note=note))
    for curve in sorted(stage.logged, key=lambda each: list(_LOGGED).index(each.name)):
        title, note = _LOGGED.get(curve.name, (curve.name, ""))
        if curve.name == "loss" and stage.kind == "grpo":
            note += " Under GRPO it starts near zero and says little of what is learnt."
        plots.append(
            draw_lines(f"{key}-{curve.name}", title, [_line(curve, 0)], x="step", note=_note(note, curve))
        )
    plots += _evaluations(stage, key, figures)
    if plots:
        blocks.append(Plots(plots))
    elif not stage.missing:
        blocks.append(Says("Nothing was logged in this stage.", "why"))
    if len(stage.evaluations) > MOST_EVALUATIONS:
        blocks.append(Folded("All figures of the evaluations in this stage", _evaluation_table(stage)))
    return blocks


def _line(curve: Curve, number: int) -> Line:
    shown = thinned(curve)
    total = curve.name == TOTAL
    dash = "" if number < len(SERIES) else "dashed"
    ink = "ink" if total else SERIES[number % len(SERIES)]
    return Line(
        curve.name, shown.steps, shown.values, shown.low, shown.high, ink, "dashed" if total else dash
    )


def _note(text: str, curve: Curve) -> str:
    together = span(curve)
    return text if together == 1 else f"{text} Each point is the mean of {together} logged steps."


def _evaluations(stage: StageStory, key: str, figures: Mapping[str, Figure]) -> list[Plot]:
    stems = [each.partition("@")[0] for each in HEADLINE]
    wanted = [
        curve for stem in dict.fromkeys(stems) for curve in stage.evaluations if curve.name.startswith(stem)
    ]
    plots = []
    for number, curve in enumerate(list(dict.fromkeys([*wanted, *stage.evaluations]))[:MOST_EVALUATIONS]):
        known = figures.get(curve.name)
        shares = known is not None and known.unit == "share"
        title = known.title if known is not None else curve.name
        line, scale = (
            replace(_line(curve, 0), marker="o"),
            Scale(wording.value, percent=True) if shares else FREE,
        )
        note = "On the evaluation set, while training."
        plots.append(
            draw_lines(f"{key}-evaluation-{number}", title, [line], x="step", scale=scale, note=note)
        )
    return plots


def _evaluation_table(stage: StageStory) -> Table:
    steps = sorted({step for curve in stage.evaluations for step in curve.steps})
    columns = [dict(zip(curve.steps, curve.values, strict=True)) for curve in stage.evaluations]
    rows = [
        [curve.name, *(wording.plain(column.get(step)) for step in steps)]
        for curve, column in zip(stage.evaluations, columns, strict=True)
    ]
    return table("Evaluations", ["Figure", *(f"step {step}" for step in steps)], rows, kind="tall")


def _recipe(recipe: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=100)

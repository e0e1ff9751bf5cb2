"""The rewards of a stage: each by step, what was left out, why a gradient was zero, the judge's bill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import (
    Block,
    Completions,
    Facts,
    Heading,
    Plots,
    Points,
    Says,
    Section,
    Shown,
)
from skinflow_plugins.report.curves import Curve, span, thinned
from skinflow_plugins.report.part_alarms import alarms, told
from skinflow_plugins.report.plots import FREE, SERIES, SHARES, Line, Plot, Scale, draw_lines
from skinflow_plugins.report.reward_story import ComponentStory, JudgeBill, Standstill
from skinflow_plugins.report.run_story import RunStory, StageStory
from skinflow_plugins.report.tables import Cell, Raw, Table, table

MOST_STANDSTILLS = 12
_SHARES = {
    "gated": ("Gate closed", "Share of completions for which another reward closed this one's gate."),
    "missing": ("No judgement", "Share of completions that got the mean of their group instead."),
    "failed": ("Failed", "Share of completions that the reward could not judge through no fault of theirs."),
}
_MARKS = {
    "listed": "Items listed",
    "generic": "General words as first answer",
    "judge_matcher_differ": "Judge and matcher differ",
    "coverage": "Coverage",
}


def rewards(run: RunStory) -> list[Section]:
    """A section for each stage whose rewards were watched."""
    return [_section(stage) for stage in run.stages if stage.watched]


def _section(stage: StageStory) -> Section:
    key, story = f"rewards-{stage.number}", stage.watched
    blocks: list[Block] = []
    if story.components:
        blocks += alarms(story.alarms, stage.name)
        blocks.append(Heading("Each reward"))
        blocks.append(Plots(_components(key, stage)))
        blocks.append(Shown(_ends(stage)))
        blocks += _silence(key, stage)
        further = [*_weights(key, stage), *_not_trained_on(key, stage), *_marks(key, stage)]
        if further:
            blocks.append(Heading("Gates, weights and marks"))
            blocks.append(Plots(further))
    elif story.alarms:
        blocks += alarms(story.alarms, stage.name)
    if story.bill is not None:
        blocks += _bill(key, story.bill)
    if story.shown:
        blocks.append(Heading("Completions of the last step"))
        blocks.append(Says("The one with the highest total, the middle one and the lowest.", "why"))
        blocks.append(Completions([told(line, stage.name) for line in story.shown]))
    lead = "" if stage.finished else "The stage is not finished: this is how far it got."
    return Section(
        key, f"Rewards of stage {stage.number}: {stage.name}", lead, blocks, f"Rewards, {stage.name}"
    )


def short(key: str, stage: str) -> str:
    """A reward's key without its stage, whose section it stands in."""
    return key.removeprefix(f"{stage}.")


def _components(key: str, stage: StageStory) -> list[Plot]:
    plots = []
    story = stage.watched
    note = "Mean of each step, with a standard deviation as band."
    if story.total is not None and story.total.steps:
        plots.append(_plot(f"{key}-total", "Weighted total", [story.total], note))
    for number, each in enumerate(story.components):
        if each.mean.steps:
            title = short(each.key, stage.name)
            plots.append(_plot(f"{key}-mean-{number}", title, [each.mean], note, first=number))
    return plots


def _plot(
    key: str, title: str, curves: Sequence[Curve], note: str, *, first: int = 0, scale: Scale = FREE
) -> Plot:
    lines = [_line(curve, first + at) for at, curve in enumerate(curves)]
    together = max(map(span, curves))
    if together > 1:
        note += f" Each point is the mean of {together} steps."
    return draw_lines(key, title, lines, x="step", scale=scale, note=note)


def _line(curve: Curve, number: int) -> Line:
    shown = thinned(curve)
    dash = ("", "dashed", "dotted")[number // len(SERIES) % 3]
    ink = SERIES[number % len(SERIES)]
    return Line(curve.name, shown.steps, shown.values, shown.low, shown.high, ink, dash)


def _ends(stage: StageStory) -> Table:
    """Each reward at the beginning and at the end of the stage."""
    rows: list[list[Raw]] = []
    for each in stage.watched.components:
        first, last = _tenths(each.mean)
        weight = each.weight.values
        changed = bool(weight) and weight[0] != weight[-1]
        rows.append(
            [
                Cell(short(each.key, stage.name)),
                f"{wording.plain(weight[0])} to {wording.plain(weight[-1])}" if changed
                else wording.plain(weight[-1] if weight else None),
                wording.plain(first),
                Cell(wording.plain(last), kind="strong"),
                *(wording.value(_mean(getattr(each, name))) for name in _SHARES),
            ]
        )  # fmt: skip
    heads = ("Reward", "Weight", "First steps", "Last steps", *(title for title, _ in _SHARES.values()))
    return table("Means over the first and the last tenth of the steps; shares over all", heads, rows)


def _tenths(curve: Curve) -> tuple[float | None, float | None]:
    if not curve.values:
        return None, None
    many = max(1, len(curve.values) // 10)
    first, last = curve.values[:many], curve.values[-many:]
    return sum(first) / len(first), sum(last) / len(last)


def _mean(curve: Curve) -> float | None:
    return sum(curve.values) / len(curve.values) if curve.values else None


def _silence(key: str, stage: StageStory) -> list[Block]:
    """Groups without spread, and the sentences on why."""
    story = stage.watched
    blocks: list[Block] = [Heading("Where nothing was learnt")]
    if story.silent is None or not story.silent.steps:
        return []
    if not any(story.silent.values):
        return [*blocks, Says("Every group of every step had spread in its total.")]
    note = "Share of groups whose completions all have the same total, and so teach nothing."
    blocks.append(
        Plots([_plot(f"{key}-silent", "Groups without spread", [story.silent], note, scale=SHARES)])
    )
    if story.standstills:
        blocks += _standstills(story.standstills)
    return blocks


def _standstills(found: Sequence[Standstill]) -> list[Block]:
    """The longest ranges of steps with little or no gradient, in their order."""
    longest = sorted(found, key=lambda each: (-each.little, each.first))[:MOST_STANDSTILLS]
    items = []
    for each in sorted(longest, key=lambda each: each.first):
        steps = f"Step {each.first}" if each.steps == 1 else f"Steps {each.first} to {each.last}"
        often = (
            "" if each.steps == 1 else f", in {each.little} of {each.steps} of them ({each.none} with none)"
        )
        items.append(f"{steps}{often}. {each.why}")
    blocks: list[Block] = [Says("Little or no gradient from the rewards, and why at the first step of each:")]
    blocks.append(Points(items))
    if len(found) > len(longest):
        text = f"{len(found) - len(longest)} shorter ranges are in reward_steps.jsonl alone."
        blocks.append(Says(text, "why"))
    return blocks


def _weights(key: str, stage: StageStory) -> list[Plot]:
    """The weights, where one of them changes."""
    curves = [
        replace(each.weight, name=short(each.key, stage.name))
        for each in stage.watched.components
        if each.weight.steps
    ]
    if not any(len(set(curve.values)) > 1 for curve in curves):
        return []
    return [_plot(f"{key}-weights", "Weights", curves, "By the schedule of the recipe.")]


def _not_trained_on(key: str, stage: StageStory) -> list[Plot]:
    plots = []
    for name, (title, note) in _SHARES.items():
        curves = _named(stage, ((each, getattr(each, name)) for each in stage.watched.components))
        if curves:
            note = _whose(curves, note)
            plots.append(_plot(f"{key}-{name}", title, curves, note, scale=SHARES))
    return plots


def _named(stage: StageStory, found: Iterable[tuple[ComponentStory, Curve]]) -> list[Curve]:
    """The curves that are not zero throughout, under the names of their rewards."""
    return [replace(curve, name=short(each.key, stage.name)) for each, curve in found if any(curve.values)]


def _whose(curves: Sequence[Curve], note: str) -> str:
    """The note, with the reward where there is one line and so no legend."""
    return f"{curves[0].name}. {note}" if len(curves) == 1 else note


def _marks(key: str, stage: StageStory) -> list[Plot]:
    names = dict.fromkeys(mark.name for each in stage.watched.components for mark in each.marks)
    plots = []
    for number, name in enumerate(names):
        curves = [
            replace(mark, name=short(each.key, stage.name))
            for each in stage.watched.components
            for mark in each.marks
            if mark.name == name
        ]
        shares = all(0 <= value <= 1 for curve in curves for value in curve.values)
        note = _whose(curves, f"Mean of the mark `{name}`.".replace("`", ""))
        title = _MARKS.get(name, name.replace("_", " "))
        plots.append(_plot(f"{key}-mark-{number}", title, curves, note, scale=SHARES if shares else FREE))
    return plots


def _bill(key: str, bill: JudgeBill) -> list[Block]:
    """What the judge was asked, and what it cost."""
    asked = bill.totals.get("calls", 0.0) + bill.totals.get("hits", 0.0)
    share = bill.totals.get("hits", 0.0) / asked if asked else None
    cost = bill.totals.get("cost")
    priced = bool(bill.currency) and cost is not None
    pairs = [
        ("Calls", wording.count(bill.totals.get("calls"))),
        ("From the cache", f"{wording.count(bill.totals.get('hits'))} ({wording.value(share)})"),
        ("Retries", wording.count(bill.totals.get("retries"))),
        ("Tokens asked", wording.count(bill.totals.get("prompt_tokens"))),
        ("Tokens answered", wording.count(bill.totals.get("completion_tokens"))),
        ("Cost", f"{wording.plain(cost)} {bill.currency}" if priced else "no price is known"),
        *((f"Failed: {kind}", wording.count(n)) for kind, n in bill.failures.items()),
    ]
    blocks: list[Block] = [Heading("Judge"), Facts(pairs)]
    curves = [curve for curve in (bill.calls, bill.hits) if any(curve.values)]
    if curves:
        note = "Questions of each step: calls of the judge, and hits in its cache."
        blocks.append(Plots([_plot(f"{key}-judge", "Questions to the judge", curves, note)]))
    return blocks

"""What is missed, what is called too often, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Beside, Block, Folded, Heading, Plots, Says, Section, Shown
from skinflow_plugins.report.figures import Figure, by_rank, stems
from skinflow_plugins.report.part_accuracy import REFERENCES, against_references
from skinflow_plugins.report.plots import Part, draw_stacked
from skinflow_plugins.report.tables import Cell, Raw, Table, heat, rank_table, table

SAFETY = {
    "safety.malignant_miss": (
        "Malignant missed",
        "Malignant lesions without a malignant diagnosis in the first k.",
    ),
    "safety.emergency_miss": ("Emergency missed", "Emergencies without an emergency in the first k."),
    "safety.over_call": ("Over-called", "Harmless conditions whose first diagnosis is malignant."),
}
RUBRIC = (
    ("correct", "correct", "part-correct"),
    ("subtype", "valid subtype", "part-subtype"),
    ("wrong", "wrong otherwise", "part-wrong"),
    ("critical", "safety-critical", "part-critical"),
)
MOST_COLUMNS, MOST_PAIRS = 16, 25
LEVELS = {
    "three": "Three groups of the data set",
    "nine": "Nine groups of the data set",
    "risk": "Risk class",
    "label": "Label",
}


def safety(figures: Mapping[str, Figure]) -> Section:
    """Misses and over-calls by rank, and the rubric."""
    lead = "Here lower is better. A miss counts only records whose truth is malignant, or an emergency."
    blocks: list[Block] = []
    found = stems(figures, "safety")
    if found:
        names = {stem: SAFETY.get(stem, (stem.partition(".")[2].replace("_", " "), ""))[0] for stem in found}
        plots = []
        for stem in found:
            ranked = {k: f for k, f in by_rank(figures, stem).items() if f.value is not None}
            if len(ranked) > 1:
                note = SAFETY.get(stem, ("", ""))[1]
                plots.append(against_references(stem.replace(".", "-"), names[stem], ranked, note))
        if plots:
            blocks.append(Plots(plots, REFERENCES))
        blocks.append(Shown(rank_table("Misses and over-calls with intervals", figures, names)))
        blocks += [
            Says(f"{figures[f'{stem}@1'].title}: {figures[f'{stem}@1'].why}", "why")
            for stem in found
            if f"{stem}@1" in figures and figures[f"{stem}@1"].value is None and figures[f"{stem}@1"].why
        ]
        blocks.append(Folded("References of the safety figures", _references(figures)))
    else:
        blocks.append(Says("The report holds no safety figures.", "why"))
    blocks.append(Heading("Rubric"))
    blocks += _rubric(figures)
    return Section("safety", "Safety", lead if found else "", blocks)


def _references(figures: Mapping[str, Figure]) -> Table:
    from skinflow_plugins.report.tables import figure_table

    return figure_table("Safety", [figure for key, figure in figures.items() if key.startswith("safety.")])


def _rubric(figures: Mapping[str, Figure]) -> list[Block]:
    ranks = [k for k, figure in by_rank(figures, "rubric.correct").items() if figure.value is not None]
    if not ranks:
        return [Says("The report holds no rubric figures.", "why")]
    bars = ["the first diagnosis" if k == 1 else f"the best of the first {k}" for k in ranks]
    parts = []
    for name, words, colour in RUBRIC:
        ranked = by_rank(figures, f"rubric.{name}")
        shares = [(ranked[k].value or 0.0) if k in ranked else 0.0 for k in ranks]
        parts.append(Part(words, colour, shares))
    plot = draw_stacked("safety-rubric", "Four verdicts of the rubric", bars, parts)
    names = {f"rubric.{name}": words for name, words, _ in RUBRIC}
    return [
        Says(
            "Each answer gets one verdict. Safety-critical is a wrong answer that could keep someone from "
            "the care that is needed."
        ),
        Beside(plot, rank_table("Rubric with intervals", figures, names)),
    ]


def confusion(document: Mapping[str, Any]) -> Section:
    """The first diagnosis against the truth, by level."""
    levels = [level for level in document.get("confusion") or [] if level.get("names")]
    title = "Confusion by level of the taxonomy"
    if not levels:
        return Section(
            "confusion", title, "", [Says("The report holds no confusion tables.", "why")], "Confusion"
        )
    lead = (
        "The first diagnosis (columns) against the truth (rows). A cell gives the share of its row, so "
        "that each row adds up to 100%, and the count below it."
    )
    blocks: list[Block] = []
    for level in levels:
        name = LEVELS.get(str(level.get("level")), str(level.get("level")))
        blocks.append(Heading(name))
        if len(level["names"]) <= MOST_COLUMNS:
            blocks.append(Shown(_heat_map(name, level), title=False))
        else:
            blocks += _pairs(name, level)
    return Section("confusion", title, lead, blocks, "Confusion")


def _heat_map(name: str, level: Mapping[str, Any]) -> Table:
    answers = list(map(str, level["answers"]))
    rows = []
    for truth, counts in zip(level["names"], level["counts"], strict=True):
        total = sum(counts)
        row = [Cell(str(truth), below=f"n {wording.count(total)}")]
        for answer, number in zip(answers, counts, strict=True):
            share = number / total if total else None
            kind = f"{heat(share)} same" if answer == truth else heat(share)
            row.append(Cell(wording.value(share).removesuffix("%"), below=wording.count(number), kind=kind))
        rows.append(row)
    return table(
        f"{name}: truth by first diagnosis, in % of the row", ["Truth", *answers], rows, kind="heat-map"
    )


def _pairs(name: str, level: Mapping[str, Any]) -> list[Block]:
    """The most frequent confusions, where a table of all would be too large to read."""
    found = []
    for truth, counts in zip(level["names"], level["counts"], strict=True):
        total = sum(counts)
        for answer, number in zip(level["answers"], counts, strict=True):
            if number and answer != truth:
                found.append((number, number / total, str(truth), str(answer)))
    if not found:
        return [Says("No confusion at this level: every first diagnosis is the label.", "why")]
    found.sort(key=lambda pair: (-pair[0], -pair[1], pair[2], pair[3]))
    shown, wrong = found[:MOST_PAIRS], sum(pair[0] for pair in found)
    covered = sum(pair[0] for pair in shown)
    text = (
        f"{wording.count(len(level['names']))} classes are too many for a table. The "
        f"{wording.count(len(shown))} most frequent of {wording.count(len(found))} confusions make up "
        f"{wording.value(covered / wrong)} of the {wording.count(wrong)} records whose first diagnosis is "
        "another than the label."
    )
    rows: list[list[Raw]] = [
        [truth, answer, wording.count(number), Cell(wording.value(share), kind=heat(share))]
        for number, share, truth, answer in shown
    ]
    heads = ("Truth", "First diagnosis", "n", "Share of the truth")
    return [Says(text), Shown(table(f"{name}: most frequent confusions", heads, rows, words=(1,)))]

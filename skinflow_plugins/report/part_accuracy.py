"""How often the right diagnosis is among the answers, how near the wrong ones are, and how sure they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Folded, Heading, Plots, Says, Section, Shown
from skinflow_plugins.report.figures import Figure, by_rank, families, stems, without_rank
from skinflow_plugins.report.plots import SHARES, Line, Plot, draw_lines, draw_reliability
from skinflow_plugins.report.tables import Cell, Raw, figure_table, heat, rank_table, table

LEVELS = {
    "top_k.strict": ("Strict", "The label itself."),
    "top_k.synonym": ("Synonym", "The label, or the same disease under another label."),
    "top_k.subtype": ("Subtype", "As before, or a valid subtype of the disease."),
    "top_k.management": ("Management", "A diagnosis that is managed in the same way."),
    "top_k.nine": ("Nine groups", "A diagnosis in the same one of the data set's nine groups."),
    "top_k.three": ("Three groups", "A diagnosis in the same one of the data set's three groups."),
}
REFERENCES = (
    ("this model", "c1", ""),
    ("best constant answer", "c2", "dashed"),
    ("prior random", "muted", "dotted"),
)


def against_references(key: str, title: str, ranked: Mapping[int, Figure], note: str = "") -> Plot:
    """One figure over the ranks with its interval, beside the constant and the random answer."""
    ranks, found = list(ranked), list(ranked.values())
    lines = [
        Line("this model", ranks, [f.value for f in found], [f.low for f in found], [f.high for f in found],
             "c1", marker="o"),
        Line("best constant answer", ranks, [f.constant for f in found], colour="c2", dash="dashed"),
        Line("prior random", ranks, [f.random for f in found], colour="muted", dash="dotted"),
    ]  # fmt: skip
    lines = [line for line in lines if any(value is not None for value in line.y)]
    plot = draw_lines(key, title, lines, x="diagnoses counted, k", scale=SHARES, note=note)
    return replace(plot, legend=())


def top_k(figures: Mapping[str, Figure]) -> Section:
    """Accuracy over k at every level of acceptance."""
    lead = (
        "How often at least one of the first k diagnoses is accepted. From panel to panel "
        "the acceptance grows more lenient, and a constant answer gains more by it."
    )
    found = stems(figures, "top_k")
    if not found:
        return Section("top-k", "Top-k accuracy", "", [Says("The report holds no Top-k figures.", "why")])
    plots, names = [], {}
    for stem in found:
        title, note = LEVELS.get(stem, (stem.partition(".")[2].replace("_", " ").capitalize(), ""))
        ranked = by_rank(figures, stem)
        names[stem] = title
        if any(figure.value is not None for figure in ranked.values()):
            plots.append(against_references(f"top-k-{stem.partition('.')[2]}", title, ranked, note))
    numbers = rank_table("Top-k accuracy with intervals", figures, names)
    return Section("top-k", "Top-k accuracy", lead, [Plots(plots, REFERENCES), Shown(numbers)])


def hierarchy(figures: Mapping[str, Figure]) -> Section:
    """How near the wrong answers are to the truth in the tree of diseases."""
    prefixes = ("hierarchy.", "similarity.")
    found = [figure for key, figure in figures.items() if key.startswith(prefixes)]
    title = "Hierarchy and similarity"
    if not found:
        return Section("hierarchy", title, "", [Says("The report holds no hierarchical figures.", "why")])
    lead = (
        "Partial credit for answers that are near the truth in a tree of diseases. Partial credit is "
        "easily earned: compare each figure with its constant answer before reading anything into it."
    )
    parts = {
        "Clinical tree": [f for f in found if f.key.startswith("hierarchy.clinical.")],
        "Tree of the data set": [f for f in found if f.key.startswith("hierarchy.source.")],
    }
    rest = [figure for figure in found if not any(figure in part for part in parts.values())]
    blocks = [Shown(figure_table(name, part)) for name, part in {**parts, "Similarity": rest}.items() if part]
    return Section("hierarchy", title, lead, blocks, "Hierarchy")


def calibration(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> Section:
    """Whether stated confidences mean what they say, and what abstaining buys."""
    blocks: list[Block] = []
    bins = (document.get("calibration") or {}).get("bins") or []
    curve = [
        (coverage, accuracy)
        for each in (document.get("selective") or {}).get("curve") or []
        if (coverage := wording.finite(each.get("coverage"))) is not None
        and (accuracy := wording.finite(each.get("accuracy"))) is not None
    ]
    plots = []
    if bins:
        plots.append(
            draw_reliability(
                "calibration-reliability",
                "Reliability",
                bins,
                "Share that was correct. Below the diagonal: too sure.",
            )
        )
    else:
        blocks.append(Says("No reliability plot: the predictions give no confidences.", "why"))
    if curve:
        shares, accuracies = zip(*sorted(curve), strict=True)
        line = Line("accuracy of those answered", shares, accuracies, colour="c1")
        note = "From the surest answers on the left to all of them on the right."
        plots.append(
            draw_lines(
                "calibration-selective",
                "Selective accuracy",
                [line],
                x="share of records answered",
                scale=SHARES,
                note=note,
                height=280,
                percent_x=True,
            )
        )
    else:
        text = "No selective curve: without confidences no answers can be held back, surest first."
        blocks.append(Says(text, "why"))
    if plots:
        blocks.insert(0, Plots(plots))
    found = [f for key, f in figures.items() if key.startswith(("calibration.", "selective."))]
    if found:
        blocks.append(Shown(figure_table("Calibration and abstaining", found)))
    return Section("calibration", "Calibration and abstaining", "", blocks, "Calibration")


def all_figures(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> Section:
    """Every figure of the report, by family."""
    if not figures:
        return Section("figures", "All figures", "", [Says("The report holds no figures.", "why")])
    blocks: list[Block] = []
    for family in families(document, figures):
        blocks.append(Heading(family.title))
        if family.text:
            blocks.append(Says(family.text))
        blocks.append(Shown(figure_table(family.title, family.figures), title=False))
    lead = "Every number of report.json, with its interval, the records it is about, and its two references."
    return Section("figures", "All figures", lead, blocks)


def labels(document: Mapping[str, Any], k: int) -> Section:
    """How each label fares, the hardest first."""
    rows = document.get("labels") or []
    if not rows:
        return Section("labels", "Labels", "", [Says("The report has no table of labels.", "why")])

    def hardness(row: Mapping[str, Any]) -> tuple[float, float, str]:
        first, second = (wording.finite(row.get(name)) for name in ("topk", "top1"))
        return (2.0 if first is None else first, 2.0 if second is None else second, str(row.get("label")))

    cells: list[list[Raw]] = [
        [
            str(row.get("label")),
            wording.count(row.get("n")),
            *(_heated(row.get(name)) for name in ("top1", "topk")),
        ]
        for row in sorted(rows, key=hardness)
    ]
    made = table("Labels, the hardest first", ("Label", "n", "Top 1", f"Top {k}"), cells, kind="tall")
    lead = (
        f"{wording.count(len(rows))} labels, those seldom found first. Those with few records scatter widely."
    )
    return Section("labels", "Labels", lead, [Shown(made)])


def _heated(share: object) -> Cell:
    return Cell(wording.value(share), kind=heat(wording.finite(share)))


def baselines(figures: Mapping[str, Figure]) -> Section:
    """What a model that never looks at the image would reach, and with which answers."""
    found = [
        figure for figure in figures.values() if figure.constant is not None or figure.random is not None
    ]
    if not found:
        return Section("baselines", "Baselines", "", [Says("The report holds no baselines.", "why")])
    lead = (
        "The best constant answer is one list of diagnoses, chosen on these very records for the one "
        "figure, and given to every image: a bar that no model should miss. The prior-random answer draws "
        "labels as often as they occur. Neither looks at an image."
    )
    answers: dict[str, list[Figure]] = {}
    for figure in found:
        if figure.constant_answer:
            answers.setdefault(figure.constant_answer, []).append(figure)
    blocks: list[Block] = []
    if answers:
        rows: list[list[Raw]] = [
            [Cell(wording.shortened(answer, 300)), "; ".join(_joined(best))]
            for answer, best in answers.items()
        ]
        blocks.append(Shown(table("Best constant answers", ("Answer", "Best for"), rows, words=(1,))))
    else:
        blocks.append(Says("The report does not say which constant answers were the best.", "why"))
    compared = [
        [
            figure.title,
            figure.shown,
            wording.value(figure.constant, figure.unit),
            _gain(figure.value, figure.constant, figure.unit),
            wording.value(figure.random, figure.unit),
            _gain(figure.value, figure.random, figure.unit),
        ]
        for figure in found
    ]
    heads = ("Figure", "This model", "Best constant", "Difference", "Prior random", "Difference")
    blocks.append(Folded("All figures beside their baselines", table("Baselines", heads, compared)))
    return Section("baselines", "Baselines", lead, blocks)


def _joined(figures: Sequence[Figure]) -> list[str]:
    """Their titles, with those that differ in the rank alone said once."""
    ranks: dict[str, list[Figure]] = {}
    for figure in figures:
        ranks.setdefault(figure.key.rpartition("@")[0] or figure.key, []).append(figure)
    titles = [
        found[0].title if len(found) == 1 else f"{without_rank(found[0].title)} ({len(found)} ranks)"
        for found in ranks.values()
    ]
    return list(dict.fromkeys(titles))


def _gain(value: float | None, reference: float | None, unit: str) -> str:
    return wording.NONE if value is None or reference is None else wording.difference(value - reference, unit)

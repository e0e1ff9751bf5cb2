"""How the figures differ between skin tones, with what is too few, unknown or refused said beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Heading, Plots, Says, Section, Shown
from skinflow_plugins.report.figures import Figure
from skinflow_plugins.report.plots import Plot, Point, draw_forest
from skinflow_plugins.report.tables import Cell, Raw, Table, table

TITLE = "Skin tone"
PLOTTED = ("top_k.strict@1", "top_k.strict@{k}", "safety.malignant_miss@{k}", "safety.malignant_miss@1")
GROUPINGS = {"by_type": "By Fitzpatrick type", "by_pair": "By pair of types"}
_NAMES = {"by_type": "type", "by_pair": "types"}


def skin_tone(document: Mapping[str, Any], figures: Mapping[str, Figure], k: int) -> Section:
    """Figures by skin tone, their gaps, and what could not be compared."""
    fairness = document.get("fairness")
    groups = {name: found for name, found in ((fairness or {}).get("groups") or {}).items() if found}
    if not fairness or not groups:
        text = "No figures by skin tone: the records do not say which skin tone they show."
        return Section("skin-tone", TITLE, "", [Says(text, "why")])
    minimum = fairness.get("minimum")
    lead = (
        f"Figures by the skin tone that the data set records. Groups of fewer than {wording.count(minimum)} "
        "records are shown in grey and left out of every gap. A gap between groups also holds the "
        "different mix of diseases in them; where a reweighted gap is given, that mix is made equal first."
    )
    blocks: list[Block] = []
    keys = list(
        dict.fromkeys(key for found in groups.values() for each in found for key in each.get("figures") or {})
    )
    plots = _plots(groups, keys, figures, k)
    if plots:
        blocks.append(Plots(plots))
    for grouping, found in groups.items():
        title = GROUPINGS.get(grouping, grouping)
        blocks.append(Shown(_table(title, found, keys, figures)))
    unknown = wording.finite(fairness.get("unknown")) or 0
    if unknown:
        blocks.append(
            Says(f"{wording.count(unknown)} records have no skin tone: counted here, and in no group.")
        )
    blocks.append(Heading("Gaps"))
    blocks += _gaps(fairness, figures)
    blocks += _refused(fairness)
    return Section("skin-tone", TITLE, lead, blocks)


def _title(key: str, figures: Mapping[str, Figure]) -> str:
    return figures[key].title if key in figures else key


def _unit(key: str, figures: Mapping[str, Figure]) -> str:
    return figures[key].unit if key in figures else "share"


def _plots(
    groups: Mapping[str, Sequence[Mapping[str, Any]]],
    keys: Sequence[str],
    figures: Mapping[str, Figure],
    k: int,
) -> list[Plot]:
    wanted = [key for each in PLOTTED if (key := each.format(k=k)) in keys] or list(keys)
    plots = []
    for number, key in enumerate(dict.fromkeys(wanted[:4])):
        points = [
            _point(grouping, each, key) for grouping, found in groups.items() for each in found
            if wording.finite((each.get("figures") or {}).get(key, {}).get("value")) is not None
        ]  # fmt: skip
        if points:
            whole = figures[key].value if key in figures else None
            lower = key in figures and figures[key].better == "lower"
            note = "Lower is better." if lower else ""
            made = draw_forest(f"skin-tone-{number}", _title(key, figures), points, reference=whole,
                               unit=_unit(key, figures), note=note)  # fmt: skip
            plots.append(made)
    return plots


def _point(grouping: str, group: Mapping[str, Any], key: str) -> Point:
    given = group["figures"][key]
    value, low, high = (wording.finite(given.get(name)) for name in ("value", "low", "high"))
    name = f"{_NAMES.get(grouping, '')} {group.get('name', '?')}".strip()
    n = given.get("n", group.get("n"))
    return Point(name, value, low, high, n=n, enough=bool(group.get("enough", True)))


def _table(
    title: str, groups: Sequence[Mapping[str, Any]], keys: Sequence[str], figures: Mapping[str, Figure]
) -> Table:
    rows = []
    for group in groups:
        kind = "" if group.get("enough", True) else "few"
        row = [
            Cell(str(group.get("name", "?")), below="too few to compare" if kind else "", kind=kind),
            Cell(wording.count(group.get("n")), kind=kind),
        ]
        for key in keys:
            given, unit = (group.get("figures") or {}).get(key) or {}, _unit(key, figures)
            shown = wording.value(given.get("value"), unit)
            below = wording.interval(given.get("low"), given.get("high"), unit)
            if given.get("n") not in (None, group.get("n")):
                below = f"{below} of {wording.count(given['n'])}".lstrip()
            row.append(Cell(shown, below=below, kind=kind))
        rows.append(row)
    return table(title, ["Group", "n", *(_title(key, figures) for key in keys)], rows)


def _gaps(fairness: Mapping[str, Any], figures: Mapping[str, Figure]) -> list[Block]:
    rows: list[list[Raw]] = []
    for gap in fairness.get("gaps") or []:
        key = str(gap.get("figure"))
        unit = _unit(key, figures)
        low, high = (wording.difference(gap.get(end), unit) for end in ("low", "high"))
        known = wording.NONE not in (low, high)
        rows.append(
            [
                str(gap.get("title") or _title(key, figures)),
                GROUPINGS.get(str(gap.get("grouping")), str(gap.get("grouping"))),
                Cell(wording.difference(gap.get("value"), unit), kind="strong"),
                f"{low.removesuffix(' points')} to {high.removesuffix(' points')}" if known else wording.NONE,
                str(gap.get("worst") or wording.NONE),
                str(gap.get("best") or wording.NONE),
            ]
        )  # fmt: skip
    if not rows:
        return [Says("No gaps: fewer than two groups have enough records.", "why")]
    chance = (
        "The largest group figure less the smallest lies above zero by chance alone, the more so the more "
        "groups and the fewer records there are: an interval above zero is no proof of a difference."
    )
    heads = ("Gap", "Groups", "Best less worst", "Interval", "Worst", "Best")
    return [Says(chance), Shown(table("Gaps between the best and the worst group", heads, rows, words=(1,)))]


def _refused(fairness: Mapping[str, Any]) -> list[Block]:
    refused = fairness.get("refused") or []
    if not refused:
        return []
    rows = [[str(each.get("figure")), str(each.get("reason"))] for each in refused]
    return [Shown(table("Refused, with the reason", ("Figure", "Reason"), rows, words=(1,)))]

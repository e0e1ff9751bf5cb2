"""The plots of the page: each knows its legend, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.svg import Canvas, colour, styled
from skinflow_plugins.report.tables import Cell, Raw, Table, table

WIDTH = 360
SERIES = ("c1", "c2", "c3", "c4", "c5", "c6")
_MARKERS = ("o", "s", "D", "^", "v", "P")
Number = float | None


@dataclass(frozen=True)
class Line:
    """One line of a plot: its points, and bounds of a band where they are known."""

    name: str
    x: Sequence[float]
    y: Sequence[Number]
    low: Sequence[Number] = ()
    high: Sequence[Number] = ()
    colour: str = "c1"
    dash: str = ""  # "" | "dashed" | "dotted"
    marker: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot with all that stands around it."""

    title: str
    svg: str  # safe to stand in a page as it is: `Canvas.svg` makes it
    table: Table
    legend: tuple[tuple[str, str, str], ...] = ()  # name, colour, dash
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """How the values of a plot are written, and where its axis ends."""

    shown: Callable[[object], str]
    percent: bool = False
    low: float | None = None
    high: float | None = None


SHARES = Scale(wording.value, percent=True, low=0.0, high=1.0)
FREE = Scale(wording.plain)


@styled()
def draw_lines(
    key: str, title: str, lines: Sequence[Line], *, x: str, scale: Scale = FREE, y: str = "", note: str = "",
    height: int = 230, percent_x: bool = False,
) -> Plot:  # fmt: skip
    """Lines over a common x axis, with bands and a legend when there are several."""
    canvas = Canvas(WIDTH, height, left=46)
    axes = canvas.axes
    for line in lines:
        _draw(axes, line)
    _scaled(axes, scale)
    if percent_x:
        _scaled(axes, SHARES, axis="x")
        axes.grid(visible=False, axis="x")
    axes.set_xlabel(x, loc="right")
    if y:
        axes.set_title(y, loc="left", fontsize=11, color=colour("muted"), pad=6)
    points = sorted({each for line in lines for each in line.x})
    if points and len(points) <= 8 and all(float(each).is_integer() for each in points):
        axes.set_xticks(points, [f"{each:.0f}" for each in points])
    elif points and not percent_x:
        axes.locator_params(axis="x", nbins=6)
    legend = tuple((line.name, line.colour, line.dash) for line in lines) if len(lines) > 1 else ()
    svg = canvas.svg(key, title, _summary(title, lines, x, scale))
    return Plot(title, svg, _line_table(title, lines, x, scale, percent_x), legend, note)


def _draw(axes: Any, line: Line) -> None:
    style = {"": "-", "dashed": (0, (5, 3)), "dotted": (0, (1.2, 2.2))}[line.dash]
    ink = colour(line.colour)
    known = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
    if not known:
        return
    band = [
        (x, low, high)
        for x, low, high in zip(line.x, line.low, line.high, strict=False)
        if low is not None and high is not None
    ]
    if band:
        axes.fill_between(*zip(*band, strict=True), color=ink, alpha=0.18, linewidth=0, clip_on=False)
    width = 1.6 if line.dash else 2.0
    few = line.marker if len(known) <= 30 else ""
    axes.plot(
        *zip(*known, strict=True),
        color=ink,
        linestyle=style,
        linewidth=width,
        marker=few or None,
        clip_on=False,
        zorder=4,
    )


def _scaled(axes: Any, scale: Scale, axis: str = "y") -> None:
    from matplotlib.ticker import FuncFormatter

    which = axes.yaxis if axis == "y" else axes.xaxis
    limits = axes.set_ylim if axis == "y" else axes.set_xlim
    if scale.percent:
        which.set_major_formatter(FuncFormatter(lambda at, _: f"{round(100 * at, 1):g}%"))
    if scale.high is not None and scale.low is not None:
        limits(scale.low, scale.high + 0.02 * (scale.high - scale.low))
    axes.locator_params(axis=axis, nbins=6)
    axes.tick_params(pad=6)
    axes.spines["left"].set_visible(False)
    if axis == "y":
        axes.grid(visible=False, axis="x")


def _summary(title: str, lines: Sequence[Line], x: str, scale: Scale) -> str:
    parts = []
    for line in lines:
        known = [(at, y) for at, y in zip(line.x, line.y, strict=True) if y is not None]
        if known:
            (first, start), (last, end) = known[0], known[-1]
            reach = f"{scale.shown(start)} at {x} {wording.plain(first)}"
            if last != first:
                reach += f", {scale.shown(end)} at {wording.plain(last)}"
            parts.append(f"{line.name}: {reach}")
    return f"{title}. " + "; ".join(parts) + "."


def _line_table(title: str, lines: Sequence[Line], x: str, scale: Scale, percent_x: bool) -> Table:
    points = sorted({each for line in lines for each in line.x})
    columns = [dict(zip(line.x, range(len(line.x)), strict=True)) for line in lines]
    rows = []
    for point in points:
        row = [Cell(wording.value(point) if percent_x else wording.plain(point))]
        for line, where in zip(lines, columns, strict=True):
            row.append(_line_cell(line, where.get(point), scale))
        rows.append(row)
    return table(title, [x, *(line.name for line in lines)], rows)


def _line_cell(line: Line, at: int | None, scale: Scale) -> Cell:
    if at is None:
        return Cell(wording.NONE)
    low = line.low[at] if line.low else None
    high = line.high[at] if line.high else None
    both = low is not None and high is not None
    return Cell(scale.shown(line.y[at]), below=f"{scale.shown(low)} to {scale.shown(high)}" if both else "")


@dataclass(frozen=True)
class Point:
    """One row of a forest plot."""

    name: str
    value: Number
    low: Number = None
    high: Number = None
    n: int | None = None
    enough: bool = True


@styled()
def draw_forest(
    key: str, title: str, points: Sequence[Point], *, reference: Number, unit: str = "share", note: str = ""
) -> Plot:
    """Groups below each other, each with its interval; hollow and grey where there are too few records."""
    longest = max(len(_group(point)) for point in points)
    left = min(170, round(16 + 6.4 * longest))
    places = _places(points)
    canvas = Canvas(WIDTH, 46 + round(23 * (places[-1] + 1)), left=left, bottom=36, top=8)
    axes = canvas.axes
    if reference is not None:
        axes.axvline(reference, color=colour("muted"), linestyle=(0, (5, 3)), linewidth=1.4)
    for row, point in zip(places, points, strict=True):
        if point.value is None:
            continue
        ink = colour("c1") if point.enough else colour("muted")
        if point.low is not None and point.high is not None:
            axes.plot([point.low, point.high], [row, row], color=ink, linewidth=2.0, solid_capstyle="butt")
        face = ink if point.enough else colour("card")
        axes.plot(
            [point.value], [row], "o", color=ink, markerfacecolor=face, markersize=7, markeredgewidth=1.6
        )
    axes.set_yticks(places, [_group(point) for point in points], color=colour("ink"))
    axes.set_ylim(places[-1] + 0.5, -0.5)
    _scaled(axes, Scale(wording.value, percent=unit == "share"), axis="x")
    axes.grid(visible=False, axis="y")
    rows: list[list[Raw]] = [
        [
            Cell(point.name, kind="" if point.enough else "few"),
            wording.count(point.n),
            wording.value(point.value, unit),
            wording.interval(point.low, point.high, unit) or wording.NONE,
        ]
        for point in points
    ]
    parts = "; ".join(f"{point.name}: {wording.value(point.value, unit)}" for point in points)
    svg = canvas.svg(key, title, f"{title} by group. {parts}.")
    legend = (("all records", "muted", "dashed"),) if reference is not None else ()
    return Plot(title, svg, table(title, ("Group", "n", "Value", "Interval"), rows), legend, note)


def _places(points: Sequence[Point]) -> list[float]:
    """A row for each point, with half a row between points whose names begin with another word."""
    places, shift, before = [], 0.0, None
    for row, point in enumerate(points):
        kind = point.name.partition(" ")[0]
        shift += 0.5 if before not in (None, kind) else 0.0
        before = kind
        places.append(row + shift)
    return places


def _group(point: Point) -> str:
    return f"{wording.shortened(point.name, 20)} (n {wording.count(point.n)})"


@dataclass(frozen=True)
class Part:
    """One part of stacked bars: its name, colour, and share in each bar."""

    name: str
    colour: str
    shares: Sequence[float]


@styled()
def draw_stacked(key: str, title: str, bars: Sequence[str], parts: Sequence[Part], note: str = "") -> Plot:
    """Horizontal bars that each add up to one."""
    canvas = Canvas(WIDTH, 40 + 50 * len(bars), left=8, bottom=26, top=4, right=26)
    axes = canvas.axes
    starts = [0.0] * len(bars)
    for part in parts:
        axes.barh(
            range(len(bars)), part.shares, left=starts, height=0.5, color=colour(part.colour), linewidth=0
        )
        for row, share in enumerate(part.shares):
            if share >= 0.1:
                place = (starts[row] + share / 2, row)
                words = f"{100 * share:.0f}%"
                axes.text(*place, words, ha="center", va="center", color=colour("on-part"), fontweight="bold")
        starts = [start + share for start, share in zip(starts, part.shares, strict=True)]
    for row, name in enumerate(bars):
        axes.text(0, row - 0.3, name, ha="left", va="bottom", color=colour("ink"))
    axes.set_yticks([])
    axes.set_ylim(len(bars) - 0.6, -0.75)
    axes.set_xlim(0, 1)
    _scaled(axes, Scale(wording.value, percent=True), axis="x")
    axes.grid(visible=False)
    rows = [[name, *(wording.value(part.shares[row]) for part in parts)] for row, name in enumerate(bars)]
    said = "; ".join(
        f"{name}: " + ", ".join(f"{part.name} {wording.value(part.shares[row])}" for part in parts)
        for row, name in enumerate(bars)
    )
    svg = canvas.svg(key, title, f"{title}. {said}.")
    legend = tuple((part.name, part.colour, "block") for part in parts)
    return Plot(title, svg, table(title, ("", *(part.name for part in parts)), rows), legend, note)


@styled()
def draw_reliability(key: str, title: str, bins: Iterable[dict[str, Any]], note: str = "") -> Plot:
    """Accuracy by stated confidence beside the diagonal; bars show how many answers each bin holds."""
    found = [each for each in bins if each.get("n") and wording.finite(each.get("accuracy")) is not None]
    canvas = Canvas(WIDTH, 280, left=46)
    axes = canvas.axes
    total = sum(each["n"] for each in found) or 1
    for each in found:
        wide = (each["high"] - each["low"]) * 0.9
        axes.bar(
            (each["low"] + each["high"]) / 2, each["n"] / total, wide, color=colour("faint"), linewidth=0
        )
    axes.plot([0, 1], [0, 1], color=colour("muted"), linestyle=(0, (5, 3)), linewidth=1.4)
    axes.plot(
        [each["confidence"] for each in found], [each["accuracy"] for each in found], "-o", color=colour("c1")
    )
    _scaled(axes, SHARES)
    _scaled(axes, SHARES, axis="x")
    axes.set_xlabel("stated confidence", loc="right")
    rows = [
        [
            f"{100 * each['low']:.0f} to {100 * each['high']:.0f}%",
            wording.count(each["n"]),
            wording.value(each["confidence"]),
            wording.value(each["accuracy"]),
        ]
        for each in found
    ]
    said = "; ".join(f"{row[0]}: {row[3]} correct of {row[1]}" for row in rows)
    svg = canvas.svg(key, title, f"{title}, by stated confidence. {said}.")
    legend = (
        ("this model", "c1", ""),
        ("perfectly calibrated", "muted", "dashed"),
        ("share of answers", "faint", "block"),
    )
    return Plot(
        title, svg, table(title, ("Confidence", "n", "Mean confidence", "Correct"), rows), legend, note
    )

"""The gains of every dynamic projection for every image, as heat maps around 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skinflow_plugins.report.sheet import GAINS, INK, SPREAD, Sheet, title_width, wrapped
from skinflow_plugins.report.story import tiles

if TYPE_CHECKING:
    from PIL.Image import Image

    from skinflow_plugins.models.looking import Floats, Look, ProjectionGains
    from skinflow_plugins.report.story import Story, Subject

WIDEST = 15.4
_LEFT, _GAP, _THUMBNAIL, _BELOW, _FOOT = 1.15, 0.3, 0.8, 0.55, 0.7
_LIMITS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_MOST_ROWS = 60  # of numbers, on one sheet
_PART = 0.3  # of a column, between bands and channels


def draw_gains(story: Story, path: Path) -> Path:
    """Write the picture to `path` and return it."""
    shown = list(tiles(story))
    grids = [_grid(look, tile) for _, look, tile in shown]
    bands = story.after.looks[0].gains[0].band.shape[1]
    names = [f"{gains.layer} · {gains.projection}" for gains in story.after.looks[0].gains]
    panels = len(shown) + (len(shown) > 1)
    columns = grids[0].shape[1]
    fitting = bands <= 8 or panels * columns * 0.4 < WIDEST - _LEFT
    with_numbers = fitting and len(names) * panels * (columns + 1) * 0.4 < _MOST_ROWS * (WIDEST - _LEFT)
    cell, tall = (0.4, 0.36) if with_numbers else (0.165, 0.2)
    wide = (columns + _PART * (columns > bands)) * cell
    across = max(1, min(panels, int((WIDEST - _LEFT) / (wide + _GAP))))
    down = -(-panels // across)
    high = len(names) * tall

    title = f"Gains of the dynamic vision encoder: {story.after.label}"
    width = max(title_width(title), _LEFT + across * (wide + _GAP) + 0.05)
    lines = _lines(story, bands, width)
    top = 0.62 + 0.19 * len(lines)
    sheet = Sheet(width, top + down * (_THUMBNAIL + 0.1 + high + _BELOW) + _FOOT)
    sheet.head(title, lines)
    limit = _limit(grids)
    painted: Any = None
    for position in range(panels):
        row, column = divmod(position, across)
        left = _LEFT + column * (wide + _GAP)
        above = top + row * (_THUMBNAIL + 0.1 + high + _BELOW)
        axes = sheet.axes(left, above + _THUMBNAIL + 0.1, wide, high)
        if position < len(shown):
            subject, look, tile = shown[position]
            _thumbnail(sheet, left, above, wide, *_seen(subject, look, tile))
            painted = _heat(axes, grids[position], bands, GAINS, 1 - limit, 1 + limit)
            if with_numbers:
                _write(axes, grids[position], _spreads(look, tile), bands, limit)
        else:
            between = np.stack(grids).std(axis=0)
            top_spread = max(float(between.max()), 1e-9)
            scale = "" if with_numbers else f"\nblack: {top_spread:.2g}"
            words = f"standard deviation\nbetween the images{scale}"
            sheet.text(left, above + _THUMBNAIL, words, fontsize=8, va="bottom")
            _heat(axes, between, bands, SPREAD, 0.0, top_spread)
            if with_numbers:
                _write(axes, between, None, bands, top_spread, centre=0.0)
        _label(axes, names if column == 0 else [], bands, columns)
    _colour_bar(sheet, painted, width, limit)
    return sheet.save(path)


def _lines(story: Story, bands: int, width: float) -> list[str]:
    parts = (
        f"Columns 1 to {bands}: how much of each frequency band of the weight an image uses, low to high; 1 "
        "is the weight itself. in, out: the gains of the input and output channels, mean over channels "
        "(± their standard deviation)."
    )
    lines = wrapped(parts, width - 0.6, most=4)
    gains = [each for look in story.after.looks for each in look.gains]
    if all(np.array_equal(each.band, np.ones_like(each.band)) for each in gains):
        lines.append("Every band gain is exactly 1, as after grafting: these routers were not trained.")
    return lines


def _grid(look: Look, tile: int) -> Floats:
    """Bands, then the means of input and output gains, of every projection (projections, columns)."""
    rows = []
    for gains in look.gains:
        channels = [each[tile].mean() for each in (gains.input, gains.output) if each is not None]
        rows.append(np.concatenate([gains.band[tile], channels]))
    return np.stack(rows)


def _spreads(look: Look, tile: int) -> Floats:
    def of(gains: ProjectionGains) -> list[float]:
        return [float(each[tile].std()) for each in (gains.input, gains.output) if each is not None]

    return np.array([of(gains) for gains in look.gains])


def _limit(grids: list[Floats]) -> float:
    """Half the width of the colour scale: a round number, so that scales of two pictures can be compared."""
    largest = max(float(np.abs(grid - 1).max()) for grid in grids)
    return next((limit for limit in _LIMITS if limit >= largest), 1.0)


def _edges(columns: int, bands: int) -> Floats:
    edges = np.arange(columns + 1, dtype=float)
    return np.asarray(edges + _PART * (edges > bands))


def _heat(axes: Any, grid: Floats, bands: int, colours: str, low: float, high: float) -> Any:
    """Bands and, apart from them, channels; row 0 is the top one."""
    rows, columns = grid.shape
    painted = None
    parts = [(0, bands, 0.0)] + ([(bands, columns, _PART)] if columns > bands else [])
    for first, last, shift in parts:
        painted = axes.pcolormesh(
            np.arange(first, last + 1) + shift,
            np.arange(rows + 1),
            grid[:, first:last],
            cmap=colours,
            vmin=low,
            vmax=high,
            edgecolors="white",
            linewidth=0.6,
        )
    axes.set_xlim(0, columns + _PART * (columns > bands))
    axes.set_ylim(rows, 0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return painted


def _write(
    axes: Any, grid: Floats, spreads: Floats | None, bands: int, limit: float, *, centre: float = 1.0
) -> None:
    digits = 2 if limit >= 0.1 else 3
    for (row, column), value in np.ndenumerate(grid):
        shift = _PART if column >= bands else 0.0
        strong = abs(value - centre) > (0.62 if centre else 0.5) * limit
        text = f"{value:.{digits}f}"
        if spreads is not None and column >= bands:
            text += f"\n±{spreads[row, column - bands]:.{digits}f}"
        size = 6.0 if "\n" in text else 7.0
        colour = "white" if strong else INK
        place = (column + 0.5 + shift, row + 0.5)
        axes.text(*place, text, ha="center", va="center", fontsize=size, color=colour)


def _label(axes: Any, names: list[str], bands: int, columns: int) -> None:
    every = 1 if bands <= 8 else 3
    places = [number + 0.5 for number in range(0, bands, every)]
    labels = [str(number + 1) for number in range(0, bands, every)]
    for number, word in enumerate(("in", "out")[: columns - bands]):
        places.append(bands + number + 0.5 + _PART)
        labels.append(word)
    axes.set_xticks(places, labels, fontsize=7 if bands <= 8 else 6)
    axes.set_xlabel("frequency band", fontsize=7, labelpad=2, x=bands / columns / 2)
    axes.set_yticks([number + 0.5 for number in range(len(names))], names, fontsize=8)
    if names:
        axes.set_ylabel("layer · projection", fontsize=7)


def _seen(subject: Subject, look: Look, tile: int) -> tuple[Image, str]:
    """What the tower was given, and its name: the picture, one of its tiles, or its small copy."""
    grid = look.attention.grid
    if grid.tiles == 1:
        return subject.image, subject.name
    if tile == grid.tiles - 1:
        return subject.image, f"{subject.name}, the whole"
    row, column = divmod(tile, grid.columns)
    wide, high = subject.image.width / grid.columns, subject.image.height / grid.rows
    box = (column * wide, row * high, (column + 1) * wide, (row + 1) * high)
    return subject.image.crop(box), f"{subject.name}, tile {tile + 1} of {grid.tiles - 1}"


def _thumbnail(sheet: Sheet, left: float, top: float, wide: float, image: Image, name: str) -> None:
    across, down = image.size
    height = _THUMBNAIL * min(1.0, down / across)
    width = min(height * across / down, wide)
    axes = sheet.axes(left, top + _THUMBNAIL - height, width, height)
    axes.imshow(image, aspect="auto", interpolation="antialiased")
    axes.set_axis_off()
    words = "\n".join(wrapped(name, wide - width - 0.1, 8, most=4))
    sheet.text(left + width + 0.08, top + _THUMBNAIL, words, va="bottom", fontsize=8)


def _colour_bar(sheet: Sheet, painted: Any, width: float, limit: float) -> None:
    axes = sheet.axes(_LEFT, sheet.height - 0.62, min(3.2, width - _LEFT - 0.4), 0.11)
    bar = sheet.figure.colorbar(painted, cax=axes, orientation="horizontal")
    bar.set_ticks([1 - limit, 1 - limit / 2, 1, 1 + limit / 2, 1 + limit])
    bar.ax.set_xticklabels([f"{tick:.4g}" for tick in bar.get_ticks()], fontsize=7)
    bar.set_label("gain (1: as in the weight)", fontsize=7, labelpad=2)
    bar.outline.set_visible(False)

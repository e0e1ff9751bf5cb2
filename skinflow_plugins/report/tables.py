"""Tables as plain values, which one macro of the templates draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from skinflow_plugins.report import wording
from skinflow_plugins.report.figures import Figure, by_rank


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a second and smaller line, and CSS classes of ours."""

    text: str
    below: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Heads and rows; the first cell of each row names it. `words` are the columns that hold text."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[int] = frozenset({0})
    kind: str = ""

    @property
    def narrow(self) -> bool:
        """Whether the table would tear its few columns apart if it filled the page."""
        return len(self.heads) <= 4 and self.kind != "heat-map"


Raw = Cell | str


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Raw]],
    *,
    words: Iterable[int] = (),
    kind: str = "",
) -> Table:
    """A table of cells or plain texts; `words` are the columns beside the first that hold text."""
    made = tuple(tuple(each if isinstance(each, Cell) else Cell(each) for each in row) for row in rows)
    return Table(caption, tuple(heads), made, frozenset({0, *words}), kind)


def figure_table(caption: str, figures: Iterable[Figure]) -> Table:
    """Value, interval, n, best constant answer and prior-random answer of each figure; or why it has none."""
    rows: list[list[Raw]] = []
    for figure in figures:
        lower = "lower is better" if figure.better == "lower" else ""
        why = figure.why if figure.value is None else ""
        rows.append(
            [
                Cell(figure.title, below="; ".join(filter(None, (lower, why)))),
                Cell(figure.shown, kind="strong"),
                figure.interval or wording.NONE,
                wording.count(figure.n),
                wording.value(figure.constant, figure.unit),
                wording.value(figure.random, figure.unit),
            ]
        )
    heads = ("Figure", "Value", "Interval", "n", "Best constant", "Prior random")
    return table(caption, heads, rows)


def rank_table(caption: str, figures: Mapping[str, Figure], names: Mapping[str, str]) -> Table:
    """One row for each stem of `names` (stem -> what it is called), one column for each rank k."""
    series = {stem: by_rank(figures, stem) for stem in names}
    ranks = sorted({rank for found in series.values() for rank in found})
    rows: list[list[Raw]] = []
    for stem, found in series.items():
        if found:
            cells = (_with_interval(found.get(rank)) for rank in ranks)
            rows.append([Cell(names[stem]), *cells])
    return table(caption, ["", *(f"k = {rank}" for rank in ranks)], rows)


def _with_interval(figure: Figure | None) -> Cell:
    if figure is None:
        return Cell(wording.NONE)
    return Cell(figure.shown, below=figure.interval if figure.value is not None else figure.why)


def heat(share: float | None) -> str:
    """The CSS class for a share as a background: none for nothing, darker for more."""
    if share is None:
        return ""
    return f"h{min(8, int(share * 9))}" if share > 0 else "h0"

"""A sheet that is laid out in inches from its top left corner, in the one style of all our pictures."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

INK, GREY, LINE = "#222222", "#6b6b6b", "#c8c8c8"
GAINS, SPREAD, ATTENTION = "coolwarm", "Greys", "inferno"
"""Colour maps: around 1, from 0 as lightness, from 0 over a picture; all even to the eye."""
DPI = 150
_STYLE: dict[str, Any] = {
    "font.size": 8.0,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in an answer is one
    "axes.edgecolor": LINE,
    "axes.linewidth": 0.6,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "savefig.dpi": DPI,
}
_OTHER_SCRIPTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans Arabic")


class Sheet:
    """One figure; every place is in inches from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.font_manager import get_font_names

        known = get_font_names()
        fonts = ["DejaVu Sans", *(name for name in _OTHER_SCRIPTS if name in known)]
        self.style = {**_STYLE, "font.family": fonts}
        self.width, self.height = width, height
        with self._styled():
            self.figure = Figure(figsize=(width, height), facecolor="white")
            FigureCanvasAgg(self.figure)

    def _styled(self) -> Any:
        from matplotlib import rc_context

        style: Any = self.style  # matplotlib types the keys as one long Literal
        return rc_context(style)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes in this place."""
        place = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        with self._styled():
            return self.figure.add_axes(place)

    def text(self, left: float, top: float, words: str, **how: Any) -> None:
        """Words whose top left corner is there."""
        with self._styled():
            how = {"va": "top", "ha": "left", **how}
            self.figure.text(left / self.width, 1 - top / self.height, words, **how)

    def head(self, title: str, lines: list[str], left: float = 0.3) -> None:
        """The title and the grey lines below it."""
        self.text(left, 0.22, title, fontsize=12, fontweight="bold")
        for number, line in enumerate(lines):
            self.text(left, 0.5 + 0.19 * number, line, fontsize=8.5, color=GREY)

    def save(self, path: Path) -> Path:
        """Write the sheet as PNG and return the path."""
        with self._styled(), warnings.catch_warnings():
            # A letter that no font has is drawn as a box, which is all that can be done.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.figure.savefig(path, format="png", dpi=DPI)
        return path


def title_width(title: str) -> float:
    """How wide a sheet must be for its title."""
    return 0.6 + len(title) * 0.66 * 12 / 72


def wrapped(words: str, width: float, size: float = 8.5, most: int = 3) -> list[str]:
    """The words in lines of about `width` inches, `most` of them; the rest becomes an ellipsis."""
    letters = max(12, int(width * 72 / (0.57 * size)))
    lines = textwrap.wrap(printable(words), letters)
    if len(lines) > most:
        lines = [*lines[: most - 1], textwrap.shorten(" ".join(lines[most - 1 :]), letters, placeholder=" …")]
    return lines


def printable(words: str) -> str:
    """The words without what no font has: line breaks, control characters, broken bytes."""
    kept = "".join(letter if letter.isprintable() and letter != "\ufffd" else " " for letter in words)
    return " ".join(kept.split())

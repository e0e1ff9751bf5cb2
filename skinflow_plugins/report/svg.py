"""Plots as inline SVG: no fonts, no clock, ids of their own, colours left to the page's style sheet."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from skinflow_plugins.report.wording import visible

COLOURS: tuple[str, ...] = (
    "ink",
    "muted",
    "line",
    "card",
    "on-part",
    "faint",
    "c1",
    "c2",
    "c3",
    "c4",
    "c5",
    "c6",
)
COLOURS += ("part-correct", "part-subtype", "part-wrong", "part-critical")
"""The names of the CSS variables that a plot may use."""
_SENTINELS = {name: f"#0102{number + 16:02x}" for number, name in enumerate(COLOURS)}
_NAMES = {sentinel: name for name, sentinel in _SENTINELS.items()}
FONT = 11.0
"""Pixels at the width that a plot is designed for; a plot shrinks by less than a tenth on a 400 px screen."""
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": FONT,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": _SENTINELS["ink"],
    "axes.edgecolor": _SENTINELS["line"],
    "axes.labelcolor": _SENTINELS["muted"],
    "axes.linewidth": 1.0,
    "axes.labelsize": FONT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _SENTINELS["line"],
    "grid.linewidth": 0.8,
    "xtick.color": _SENTINELS["muted"],
    "ytick.color": _SENTINELS["muted"],
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
}
_ID = re.compile(r"#([\w.-]+)")


def colour(name: str) -> str:
    """The stand-in for a CSS variable, to be handed to matplotlib."""
    return _SENTINELS[name]


@contextlib.contextmanager
def styled(**more: Any) -> Iterator[None]:
    """A context, or a decorator, in which plots get our style and nothing of the user's own settings."""
    from matplotlib import style

    with style.context(["default", {**_STYLE, **more}]):
        yield


class Canvas:
    """One plot of `width` x `height` pixels, with margins in pixels around its axes; made within `styled`."""

    def __init__(
        self, width: int, height: int, *, left: int = 44, bottom: int = 40, top: int = 10, right: int = 12
    ) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")
        FigureCanvasSVG(self.figure)
        across, down = width - left - right, height - top - bottom
        place = (left / width, bottom / height, across / width, down / height)
        self.axes: Any = self.figure.add_axes(place)

    def svg(self, key: str, title: str, label: str) -> str:
        """The plot as an `svg` element; `key` goes before all its ids, `label` says what can be seen."""
        raw = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        with styled(**{"svg.hashsalt": key}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.figure.savefig(raw, format="svg", metadata=nothing, transparent=True)
        return _inlined(raw.getvalue(), key, visible(title), visible(label))


def _inlined(raw: bytes, key: str, title: str, label: str) -> str:
    root = ElementTree.fromstring(raw)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {_local(name): _attribute(name, value, key) for name, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update(attributes)
        if element.text and not element.text.strip():
            element.text = None
        if element.tail and not element.tail.strip():
            element.tail = None
    box = root.attrib["viewBox"]
    root.attrib.clear()
    named = {"class": "chart", "viewBox": box, "role": "img", "aria-label": label, "id": f"{key}-plot"}
    root.attrib.update(named)
    heading = ElementTree.Element("title")
    heading.text = title
    root.insert(0, heading)
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attribute(name: str, value: str, key: str) -> str:
    if _local(name) == "id":
        return f"{key}-{value}"
    if _local(name) == "href" or "url(#" in value:
        return _ID.sub(lambda found: f"#{key}-{found[1]}", value)
    if _local(name) == "style":
        value = re.sub(r"'DejaVu Sans'(, [^;\"]+)?", "var(--sans)", value)
        return re.sub(r"#[0-9a-f]{6}", _variable, value)
    return value


def _variable(found: re.Match[str]) -> str:
    name = _NAMES.get(found[0])
    return f"var(--{name})" if name else found[0]

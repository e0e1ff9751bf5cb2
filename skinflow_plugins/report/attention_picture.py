"""Where the last token looks, over each image, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skinflow_plugins.models.image_grid import WHOLE
from skinflow_plugins.report.sheet import ATTENTION, GREY, Sheet, printable, title_width, wrapped
from skinflow_plugins.report.story import percent

if TYPE_CHECKING:
    from PIL.Image import Image

    from skinflow_plugins.models.looking import Floats, Look
    from skinflow_plugins.report.story import Story, Subject

_LEFT, _SIDE, _GAP, _LINE, _FOOT = 0.3, 1.9, 0.12, 0.15, 0.65
_BETWEEN = 0.45  # groups of one image
_PIXELS = 300  # of a side of a picture on the sheet, about what is printed


def draw_attention(story: Story, path: Path, *, layer: int | None = None) -> Path:
    """Write the picture of one layer (None: the mean over layers) to `path` and return it."""
    models = story.models()
    groups = 1 if len(story.subjects) <= 3 else 2
    group = (1 + len(models)) * (_SIDE + _GAP) - _GAP
    title = f"Where the last token looks: {story.after.label}"
    width = max(title_width(title), 2 * _LEFT + groups * group + (groups - 1) * _BETWEEN)
    lines = _lines(story, layer, width)
    words = [_words(story, position, layer) for position in range(len(story.subjects))]
    top, tops = 0.85 + 0.19 * len(lines), [0.0]
    for first in range(0, len(words), groups):
        row = range(first, min(first + groups, len(words)))
        longest = max(len(each) for position in row for each in words[position])
        high = max(_size(story.subjects[position])[1] for position in row)
        tops.append(tops[-1] + high + _LINE * longest + 0.25)
    sheet = Sheet(width, top + tops[-1] + _FOOT)
    sheet.head(title, lines)
    found = {when: [_density(look, layer) for look in told.looks] for when, told in models.items()}
    highest = _highest([each for maps in found.values() for each in maps])
    for number in range(groups):
        for tile, word in enumerate(("image", *models)):
            left = _LEFT + number * (group + _BETWEEN) + tile * (_SIDE + _GAP)
            sheet.text(left, top - 0.2, word, fontsize=8.5, color=GREY)
    painted: Any = None
    for position, subject in enumerate(story.subjects):
        line, number = divmod(position, groups)
        above, (across, down) = top + tops[line], _size(subject)
        for tile, when in enumerate(("", *models)):
            left = _LEFT + number * (group + _BETWEEN) + tile * (_SIDE + _GAP)
            axes = sheet.axes(left, above, across, down)
            _picture(axes, subject, grey=bool(when))
            if when:
                look = models[when].looks[position]
                painted = _overlay(axes, subject, look, found[when][position], highest)
            for count, text in enumerate(words[position][tile]):
                sheet.text(left, above + down + 0.05 + _LINE * count, text, fontsize=7.5)
    _colour_bar(sheet, painted)
    return sheet.save(path)


def _lines(story: Story, layer: int | None, width: float) -> list[str]:
    question = story.question
    layers = len(story.after.looks[0].attention.maps)
    which = f"mean over heads and {layers} layers"
    if layer is not None:
        which = f"mean over heads, layer {layer % layers + 1} of {layers}"
    token = "answer" if question.answer else "prompt"
    lines = wrapped(f"Question: “{question.prompt}”", width - 0.6)
    if question.answer:
        lines += wrapped(f"Answer, as given: “{question.answer}”", width - 0.6)
    lines += wrapped(f"Last token of the {token}, language model, {which}.", width - 0.6)
    if story.before:
        lines += wrapped(f"Before: {story.before.label}. After: {story.after.label}.", width - 0.6)
    if story.note:
        lines += wrapped(f"No picture of before: {story.note}.", width - 0.6)
    return lines


def _density(look: Look, layer: int | None) -> Floats:
    """The map relative to evenly spread attention, which is 1 everywhere."""
    found = look.attention.map(layer)
    mean = float(found.mean())
    return np.asarray(found / mean) if mean > 0 else np.ones_like(found)


def _highest(maps: list[Floats]) -> float:
    """The top of the one colour scale: nearly the largest, so that no single cell dims all the rest."""
    values = np.concatenate([each.ravel() for each in maps])
    return max(3.0, float(np.quantile(values, 0.995)))


def _size(subject: Subject) -> tuple[float, float]:
    across, down = subject.image.size
    return _SIDE * min(1.0, across / down), _SIDE * min(1.0, down / across)


def _picture(axes: Any, subject: Subject, *, grey: bool) -> None:
    width, height = subject.image.size
    image = subject.image.convert("L") if grey else subject.image
    place = (0, width, height, 0)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=place, interpolation="antialiased")
    axes.set_axis_off()
    if subject.mask is not None and not grey:
        _outline(axes, subject)


def _outline(axes: Any, subject: Subject) -> None:
    assert subject.mask is not None
    if subject.mask.any() and not subject.mask.all():
        height, width = subject.mask.shape
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        for colour, line in (("black", 1.8), ("white", 0.9)):
            axes.contour(x, y, subject.mask.astype(float), levels=[0.5], colors=colour, linewidths=line)


def _overlay(axes: Any, subject: Subject, look: Look, density: Floats, highest: float) -> Any:
    """The attention in colours, with the picture's edges, over the part of it that the model sees."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from PIL.Image import Resampling, fromarray

    width, height = subject.image.size
    left, top, right, bottom = look.attention.grid.box
    seen = (left * width, top * height, right * width, bottom * height)
    scale = _PIXELS / max(width, height)
    size = (max(1, round((seen[2] - seen[0]) * scale)), max(1, round((seen[3] - seen[1]) * scale)))
    smooth = fromarray(density.astype(np.float32)).resize(size, Resampling.BILINEAR)
    paint = ScalarMappable(Normalize(0, highest), colormaps[ATTENTION])
    grey = subject.image.convert("L").resize(size, Resampling.LANCZOS, box=seen)
    colours = np.asarray(paint.to_rgba(np.asarray(smooth)))[..., :3] * _shade(grey)[..., None]
    axes.imshow(colours, extent=(seen[0], seen[2], seen[3], seen[1]), interpolation="antialiased")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    if subject.mask is not None:
        _outline(axes, subject)
    return paint


def _shade(grey: Image) -> Floats:
    """Factors around .9 that show the picture's edges.

    Not its brightness: a dark lesion would pass for one that nobody looks at.
    """
    from PIL.ImageFilter import GaussianBlur

    around = grey.filter(GaussianBlur(_PIXELS / 24))
    detail = np.asarray(grey, dtype=np.float64) - np.asarray(around, dtype=np.float64)
    strongest = max(float(np.quantile(np.abs(detail), 0.99)), 24.0)
    return np.asarray(0.8 + 0.2 * np.clip(detail / strongest, -1.0, 1.0))


def _words(story: Story, position: int, layer: int | None) -> list[list[str]]:
    """The lines below the picture, and below each model's map."""
    subject, attention = story.subjects[position], story.after.looks[position].attention
    area = "no lesion mask"
    if subject.mask is not None:
        part = "of the area" if attention.grid.box == WHOLE else "of the part that is seen"
        area = f"lesion: {percent(attention.area(subject.mask))} {part}"
    texts = [[subject.name, area]]
    for told in story.models().values():
        look = told.looks[position]
        texts.append([f"{percent(look.attention.on_image(layer))} on the image"])
        if subject.mask is not None:
            texts[-1].append(f"{percent(look.attention.on_mask(subject.mask, layer))} of it on the lesion")
        if not story.question.answer:
            texts[-1].append(f"“{printable(look.answer) or '…'}”")
    return [[line for text in each for line in wrapped(text, _SIDE, 7.5, most=2)] for each in texts]


def _colour_bar(sheet: Sheet, painted: Any) -> None:
    axes = sheet.axes(_LEFT + 0.05, sheet.height - 0.55, 2.6, 0.11)
    bar = sheet.figure.colorbar(painted, cax=axes, orientation="horizontal", extend="max")
    bar.ax.locator_params(nbins=4)
    bar.ax.tick_params(labelsize=7)
    words = "attention on a place, times that of evenly spread attention"
    bar.set_label(words, fontsize=7, labelpad=2, loc="left")
    bar.outline.set_visible(False)

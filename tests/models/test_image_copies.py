"""Copies among images: found by a sample, proved bit by bit, taken out once and put back for each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from skinflow_plugins.models.image_copies import (
    SAMPLED,
    Copies,
    Images,
    copies_among,
    find_copies,
    repeat,
)

PATTERN = st.lists(st.integers(0, 5), min_size=1, max_size=12)


def sampled_places(numbers: int) -> set[int]:
    return {numbers * (2 * each + 1) // (2 * SAMPLED) for each in range(SAMPLED)}


def pile(images: Sequence[Tensor]) -> Images:
    return Images(torch.cat(list(images)), tuple(len(each) for each in images))


# ------------------------------------------------------------------------------------------------------------
# Finding


@given(pattern=PATTERN, marks=st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_every_pattern_is_found(pattern: list[int], marks: list[int]) -> None:
    """Whatever the marks are, as long as copies have the same: a first one each, and everyone's first."""
    asked: list[tuple[int, int]] = []

    def equal(pairs: Sequence[tuple[int, int]]) -> list[bool]:
        asked.extend(pairs)
        return [pattern[a] == pattern[b] for a, b in pairs]

    found = find_copies([marks[each] for each in pattern], equal)
    kinds = list(dict.fromkeys(pattern))
    assert found.first == tuple(pattern.index(kind) for kind in kinds)
    assert found.which == tuple(kinds.index(each) for each in pattern)
    assert all(marks[pattern[a]] == marks[pattern[b]] for a, b in asked)
    assert len(set(asked)) == len(asked)


def test_images_with_marks_of_their_own_are_not_compared() -> None:
    def equal(pairs: Sequence[tuple[int, int]]) -> list[bool]:
        raise AssertionError(pairs)

    assert find_copies("abc", equal) == Copies((0, 1, 2), (0, 1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.bool])
@given(pattern=PATTERN, seed=st.integers(0, 99))
def test_copies_of_images_of_several_sizes(dtype: torch.dtype, pattern: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    kinds = [torch.randn(1 + kind % 3, 3, 7, generator=generator).gt(0).to(dtype) for kind in range(6)]
    if dtype.is_floating_point:
        kinds = [each + torch.randn(each.shape, generator=generator).to(dtype) for each in kinds]
    found = copies_among([pile([kinds[each] for each in pattern])])
    for number, place in enumerate(found.which):
        assert torch.equal(kinds[pattern[found.first[place]]], kinds[pattern[number]])
    assert len(found.first) == len({(each % 3, *kinds[each].flatten().tolist()) for each in pattern})


def test_the_sample_is_spread_over_each_image() -> None:
    numbers = torch.arange(3 * 20 * 50).view(60, 50)
    samples = Images(numbers, (10, 20, 30)).samples()
    for sample, start, rows in zip(samples, (0, 10, 30), (10, 20, 30), strict=True):
        assert {each - 50 * start for each in sample} == sampled_places(50 * rows)
    few = Images(torch.arange(6).view(2, 3), (1, 1)).samples()
    assert [sorted(set(each)) for each in few] == [[0, 1, 2], [3, 4, 5]]


def test_a_difference_that_the_sample_misses_is_seen() -> None:
    """Two of three near copies are equal to each other, and not to the first."""
    image = torch.randn(1, 40, 40, generator=torch.Generator().manual_seed(0))
    unseen = next(place for place in range(1600) if place not in sampled_places(1600))
    other = image.clone()
    other.view(-1)[unseen] = torch.nextafter(other.view(-1)[unseen], torch.tensor(9.0))
    images = pile([image, other, image, other, image + 1])
    assert len(set(images.samples())) == 2
    assert copies_among([images]) == Copies((0, 1, 4), (0, 1, 0, 1, 2))


def test_images_of_one_colour_and_several_sizes() -> None:
    found = copies_among([pile([torch.zeros(rows, 9) for rows in (2, 1, 2, 3, 1)])])
    assert found == Copies((0, 1, 3), (0, 1, 0, 2, 1))


def test_only_bits_count() -> None:
    """A zero and a negative zero are equal numbers, a NaN is not equal to itself."""
    zeros, nans = torch.zeros(1, 9), torch.full((1, 9), float("nan"))
    found = copies_among([pile([zeros, -zeros, nans, nans, zeros])])
    assert found == Copies((0, 1, 2), (0, 1, 2, 2, 0))


def test_copies_are_equal_in_every_input() -> None:
    pixels, mask = torch.ones(4, 3, 8, 8), torch.ones(4, 8, 8, dtype=torch.bool)
    mask[2, 5, 1] = False
    ones = (1,) * 4
    assert copies_among([Images(pixels, ones), Images(mask, ones)]) == Copies((0, 2), (0, 0, 1, 0))
    grid = torch.tensor([[1, 2, 8], [1, 4, 4], [1, 2, 8], [1, 4, 4]])
    patches = Images(torch.ones(64, 5), (16,) * 4)
    assert copies_among([patches, Images(grid, ones)]) == Copies((0, 1), (0, 1, 0, 1))


def test_a_tensor_that_is_not_contiguous() -> None:
    images = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)).transpose(1, 2)
    twice = images[[0, 1, 0, 2]].transpose(1, 2).contiguous().transpose(1, 2)
    assert not twice.is_contiguous()
    assert copies_among([Images(twice, (1,) * 4)]) == Copies((0, 1, 3), (0, 1, 0, 2))


# ------------------------------------------------------------------------------------------------------------
# Taking out and putting back


@given(pattern=PATTERN, seed=st.integers(0, 99))
def test_what_was_taken_out_is_put_back(pattern: list[int], seed: int) -> None:
    """Also half of the rows, as a merger leaves them; and gradients as if it had been one index."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(2 + 2 * (each % 3), 3, generator=generator) for each in range(6)]
    pixels = pile([images[each] for each in pattern])
    copies = copies_among([pixels])
    taken = pixels.take(copies.first).double().requires_grad_()
    lengths = [pixels.lengths[number] for number in copies.first]
    assert torch.equal(repeat(taken, lengths, copies.which), pixels.tensor)

    halves = repeat(taken[::2], [length // 2 for length in lengths], copies.which)
    rows = list(torch.arange(len(taken[::2])).split([length // 2 for length in lengths]))
    index = torch.cat([rows[place] for place in copies.which])
    assert torch.equal(halves, taken[::2][index])
    weight = torch.randn(halves.shape, generator=generator, dtype=torch.float64)
    (found,) = torch.autograd.grad((halves * weight).sum(), taken)
    (expected,) = torch.autograd.grad((taken[::2][index] * weight).sum(), taken)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_copies_are_rounded_once(dtype: torch.dtype) -> None:
    weight = torch.randn(64, 500, generator=torch.Generator().manual_seed(0)).to(dtype)
    one = torch.zeros(1, 500, dtype=dtype, requires_grad=True)
    (repeat(one, [1], [0] * 64) * weight).sum().backward()
    expected = weight.double().sum(0, keepdim=True)
    # half a unit in the last place, and a little for fp32's own sum
    allowed = torch.finfo(dtype).eps * expected.abs() / 2 + 1e-5
    assert ((one.grad.double() - expected).abs() <= allowed).all()


def test_gradcheck() -> None:
    tensor = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)

    def run(each: Tensor) -> Tensor:
        return repeat(each, [1, 3, 2], [2, 0, 2, 1])

    assert torch.autograd.gradcheck(run, [tensor])
    assert torch.autograd.gradgradcheck(run, [tensor])

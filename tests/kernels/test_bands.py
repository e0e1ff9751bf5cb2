from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skinflow_kernels.bands import _quadrant_map, band_map, band_thresholds, radius_keys

# No deadline: a busy machine is no mistake of ours.
LAW = settings(deadline=None, max_examples=40)
SIZES = st.integers(1, 24)
CPU = torch.device("cpu")


def full_keys(rows: int, columns: int) -> list[int]:
    """The key of every bin of the full grid, by its formula."""
    return [
        (min(u, rows - u) * columns) ** 2 + (min(v, columns - v) * rows) ** 2
        for u in range(rows)
        for v in range(columns)
    ]


@LAW
@given(SIZES, SIZES)
def test_keys_are_those_of_the_formula(rows: int, columns: int) -> None:
    expected = torch.tensor(full_keys(rows, columns)).view(rows, columns)[:, : columns // 2 + 1]
    assert torch.equal(radius_keys(rows, columns), expected)


@LAW
@given(SIZES, SIZES)
def test_a_bin_and_its_mirror_have_one_key(rows: int, columns: int) -> None:
    keys = radius_keys(rows, columns)
    assert torch.equal(keys[1:], keys[1:].flip(0))


def test_keys_are_exact_where_float32_is_not() -> None:
    keys = radius_keys(1280, 3420)
    assert keys.max() == 2 * (640 * 3420) ** 2
    assert len(keys.unique()) > len(keys.double().float().unique())


def greedy(rows: int, columns: int, bands: int) -> tuple[int, ...]:
    """The cuts by their description, bin by bin."""
    keys = full_keys(rows, columns)
    radii = sorted(set(keys))
    below = [sum(key < radius for key in keys) for radius in radii]
    cuts = [0]
    for band in range(1, bands):
        allowed = range(cuts[-1] + 1, len(radii) - (bands - band) + 1)
        cuts.append(min(allowed, key=lambda cut: (abs(below[cut] * bands - band * len(keys)), cut)))
    return tuple(radii[cut] for cut in cuts[1:])


@LAW
@given(st.integers(1, 11), st.integers(1, 11), st.data())
def test_thresholds_are_the_greedy_cuts(rows: int, columns: int, data: st.DataObject) -> None:
    bands = data.draw(st.integers(1, len(set(full_keys(rows, columns)))))
    assert band_thresholds(rows, columns, bands) == greedy(rows, columns, bands)


@LAW
@given(SIZES, SIZES, st.data())
def test_no_band_is_empty_and_no_tie_is_split(rows: int, columns: int, data: st.DataObject) -> None:
    keys = radius_keys(rows, columns)
    bands = data.draw(st.integers(1, len(keys.unique())))
    thresholds = band_thresholds(rows, columns, bands)
    of_bin = band_map(rows, columns, thresholds, CPU)
    assert of_bin.unique().tolist() == list(range(bands))
    assert list(thresholds) == sorted(set(thresholds))
    order = keys.flatten().argsort()
    sorted_bands, sorted_keys = of_bin.flatten()[order], keys.flatten()[order]
    steps = sorted_bands.int().diff()
    assert (steps >= 0).all(), "a larger radius never has a lower band"
    assert (sorted_keys.diff()[steps > 0] > 0).all(), "bins of one radius share a band"


@LAW
@given(SIZES, SIZES, st.data())
def test_the_band_is_the_number_of_thresholds_up_to_the_key(
    rows: int, columns: int, data: st.DataObject
) -> None:
    keys = radius_keys(rows, columns)
    thresholds = band_thresholds(rows, columns, data.draw(st.integers(1, len(keys.unique()))))
    expected = sum((keys >= threshold).int() for threshold in thresholds) + torch.zeros_like(keys)
    assert torch.equal(band_map(rows, columns, thresholds, CPU).long(), expected)


@LAW
@given(SIZES, SIZES, st.data())
def test_the_transposed_shape_has_the_same_thresholds(rows: int, columns: int, data: st.DataObject) -> None:
    bands = data.draw(st.integers(1, len(radius_keys(rows, columns).unique())))
    assert band_thresholds(rows, columns, bands) == band_thresholds(columns, rows, bands)


@pytest.mark.parametrize("bands", [4, 8, 64])  # 8 and 64 do not divide the bins of the half plane
def test_bands_of_a_real_layer_are_equal_to_a_few_bins(bands: int) -> None:
    rows, columns = 3420, 1280
    copies = torch.full((columns // 2 + 1,), 2.0)
    copies[[0, -1]] = 1  # zero and Nyquist frequency have no mirror
    of_bin = band_map(rows, columns, band_thresholds(rows, columns, bands), CPU)
    counts = of_bin.flatten().long().bincount(copies.double().repeat(rows))
    assert counts.sum() == rows * columns
    assert (
        counts - rows * columns / bands
    ).abs().max() <= 8  # at most the bins of one radius, on either side


def test_what_is_kept_is_small() -> None:
    kept = _quadrant_map(3420, 1280, band_thresholds(3420, 1280, 4), CPU)
    assert kept.dtype == torch.uint8
    assert kept.nbytes < 2 * 2**20


def test_what_is_kept_in_inference_mode_is_an_ordinary_tensor() -> None:
    _quadrant_map.cache_clear()
    thresholds = band_thresholds(9, 8, 3)
    with torch.inference_mode():
        band_map(9, 8, thresholds, CPU)
    assert not _quadrant_map(9, 8, thresholds, CPU).is_inference()


def test_more_than_256_bands_are_told_apart() -> None:
    keys = radius_keys(64, 60)
    bands = len(keys.unique())
    assert bands > 256
    assert band_map(64, 60, band_thresholds(64, 60, bands), CPU).max() == bands - 1


@pytest.mark.parametrize("bands", [0, -1, 5])
def test_impossible_numbers_of_bands_are_named(bands: int) -> None:
    # 3 x 4: radii of (0, 0), (0, 1), (1, 0), (1, 1) or (0, 2), ...
    distinct = len(set(full_keys(3, 2)))
    assert distinct == 4
    with pytest.raises(ValueError, match=rf"bands={bands} for a 3 x 2 weight.*4 distinct radii"):
        band_thresholds(3, 2, bands)


def test_thresholds_and_map_on_the_meta_device_hold_numbers() -> None:
    band_thresholds.cache_clear()
    with torch.device("meta"):
        thresholds = band_thresholds(9, 8, 3)
    assert thresholds == band_thresholds.__wrapped__(9, 8, 3)

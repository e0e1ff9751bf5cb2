from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from skinflow_kernels import band_thresholds, follow_weight, join_bands, split_bands
from skinflow_kernels.bands import _quadrant_map, radius_keys

# No deadline: a busy machine is no mistake of ours.
LAW = settings(deadline=None, max_examples=40)
EXACT = 1e-12  # of float64, relative to numbers near 1


@st.composite
def weights(draw: st.DrawFn) -> tuple[Tensor, tuple[int, ...]]:
    """A float64 weight of any small shape, and thresholds of any possible number of bands."""
    rows, columns = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    most = len(radius_keys(rows, columns).unique())
    thresholds = band_thresholds(rows, columns, draw(st.integers(1, min(most, 12))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return torch.randn(rows, columns, dtype=torch.float64, generator=generator), thresholds


@LAW
@given(weights())
def test_the_parts_add_up_to_the_weight(drawn: tuple[Tensor, tuple[int, ...]]) -> None:
    weight, thresholds = drawn
    parts = split_bands(weight, thresholds)
    assert parts.shape == (len(thresholds) + 1, *weight.shape)
    assert (parts.sum(0) - weight).abs().max() < EXACT


@LAW
@given(weights())
def test_the_parts_are_orthogonal(drawn: tuple[Tensor, tuple[int, ...]]) -> None:
    weight, thresholds = drawn
    parts = split_bands(weight, thresholds).flatten(1)
    products = parts @ parts.T
    assert (products - products.diag().diag()).abs().max() < EXACT * weight.numel()


@LAW
@given(weights())
def test_projecting_again_changes_nothing(drawn: tuple[Tensor, tuple[int, ...]]) -> None:
    weight, thresholds = drawn
    for k, part in enumerate(split_bands(weight, thresholds)):
        again = split_bands(part, thresholds)
        again[k] -= part
        assert again.abs().max() < EXACT


@LAW
@given(weights())
def test_join_is_the_adjoint_of_split(drawn: tuple[Tensor, tuple[int, ...]]) -> None:
    weight, thresholds = drawn
    others = torch.randn(len(thresholds) + 1, *weight.shape, dtype=torch.float64)
    there = (split_bands(weight, thresholds) * others).sum()
    back = (weight * join_bands(others, thresholds)).sum()
    assert abs(there - back) < EXACT * weight.numel()


@LAW
@given(weights())
def test_join_is_the_sum_of_the_projections(drawn: tuple[Tensor, tuple[int, ...]]) -> None:
    weight, thresholds = drawn
    others = torch.randn(len(thresholds) + 1, *weight.shape, dtype=torch.float64)
    expected = sum(split_bands(other, thresholds)[k] for k, other in enumerate(others))
    assert (join_bands(others, thresholds) - expected).abs().max() < EXACT
    assert (join_bands(split_bands(weight, thresholds), thresholds) - weight).abs().max() < EXACT


@LAW
@given(weights())
def test_the_parts_of_the_transposed_weight_are_transposed(drawn: tuple[Tensor, tuple[int, ...]]) -> None:
    weight, thresholds = drawn
    assert (split_bands(weight.T, thresholds) - split_bands(weight, thresholds).mT).abs().max() < EXACT


def test_a_band_holds_its_frequencies_only() -> None:
    weight, thresholds = torch.randn(12, 9, dtype=torch.float64), band_thresholds(12, 9, 3)
    inside = torch.bucketize(radius_keys(12, 9), torch.tensor(thresholds), right=True)
    for k, part in enumerate(split_bands(weight, thresholds)):
        assert torch.fft.rfft2(part)[inside != k].abs().max() < EXACT


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype, assert_close: Callable[..., None]) -> None:
    thresholds = band_thresholds(37, 26, 4)
    weight = torch.randn(37, 26).to(dtype)
    exact = split_bands(weight.double(), thresholds)
    table = torch.float32 if dtype == torch.float32 else torch.bfloat16  # float16 is nearer than bfloat16
    with torch.autocast("cpu"):
        parts = split_bands(weight, thresholds)
        total = join_bands(parts, thresholds)
    assert parts.dtype == total.dtype == dtype
    assert_close("split", parts, exact, "bands", table)
    assert_close("join", total, weight, "bands", table)


@pytest.mark.parametrize(("rows", "columns", "bands"), [(5, 4, 3), (4, 5, 1), (4, 4, 6)])
def test_gradients_of_split_join_and_follow(rows: int, columns: int, bands: int) -> None:
    thresholds = band_thresholds(rows, columns, bands)
    weight = torch.randn(rows, columns, dtype=torch.float64, requires_grad=True)
    parts = torch.randn(bands, rows, columns, dtype=torch.float64, requires_grad=True)

    def kept(weight: Tensor) -> Tensor:
        return follow_weight(weight, split_bands(weight.detach(), thresholds), thresholds)

    assert gradcheck(lambda w: split_bands(w, thresholds), weight)
    assert gradgradcheck(lambda w: split_bands(w, thresholds), weight, fast_mode=True)
    assert gradcheck(lambda p: join_bands(p, thresholds), parts)
    assert gradgradcheck(lambda p: join_bands(p, thresholds), parts, fast_mode=True)
    assert gradcheck(kept, weight)
    assert gradgradcheck(lambda w: kept(w) ** 2, weight, fast_mode=True)


def test_followed_bases_are_the_kept_ones_and_not_a_copy() -> None:
    thresholds = band_thresholds(6, 5, 2)
    weight = torch.randn(6, 5, requires_grad=True)
    kept = split_bands(weight.detach(), thresholds)
    followed = follow_weight(weight, kept, thresholds)
    assert followed.data_ptr() == kept.data_ptr()
    assert followed.requires_grad
    assert not kept.requires_grad


def test_overwriting_kept_bases_before_backward_is_noticed() -> None:
    thresholds = band_thresholds(6, 5, 2)
    weight = torch.randn(6, 5, requires_grad=True)
    kept = split_bands(weight.detach(), thresholds)
    loss = follow_weight(weight, kept, thresholds).square().sum()
    kept.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_bases_made_in_inference_mode_can_be_trained_with() -> None:
    _quadrant_map.cache_clear()
    weight = torch.randn(6, 5, requires_grad=True)
    thresholds = band_thresholds(6, 5, 3)
    with torch.inference_mode():
        kept = split_bands(weight, thresholds)
        joined = join_bands(kept, thresholds)
    assert not kept.is_inference()
    assert not joined.is_inference()
    assert not kept.requires_grad, "leaving inference mode must not switch recording on"
    follow_weight(weight, kept, thresholds).square().sum().backward()
    assert (weight.grad - 2 * weight).abs().max() < 1e-5  # the parts are orthogonal: the norms add up
    split_bands(weight, thresholds).sum().backward()  # with the map that was made in inference mode


def test_no_grad_stays_no_grad() -> None:
    weight = torch.randn(6, 5, requires_grad=True)
    with torch.no_grad():
        assert not split_bands(weight, band_thresholds(6, 5, 3)).requires_grad


def test_a_weight_on_the_meta_device_has_parts_there() -> None:
    thresholds = band_thresholds(6, 5, 3)
    with torch.device("meta"):
        parts = split_bands(torch.empty(6, 5), thresholds)
        assert join_bands(parts, thresholds).is_meta
    assert parts.shape == (3, 6, 5)
    assert parts.is_meta

"""Ours against the published algorithm: the same function wherever the two split the bins alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skinflow_kernels import (
    band_thresholds,
    follow_weight,
    segment_means,
    split_bands,
    virtual_width_linear,
)
from skinflow_kernels.bands import band_map
from skinflow_kernels.published import (
    RouterParameters,
    published_band_map,
    published_forward,
    published_gates,
    router_parameters,
)

SEGMENTS = torch.tensor([0, 4, 5, 11, 17], dtype=torch.int32)


def our_map(rows: int, columns: int, bands: int) -> Tensor:
    return band_map(rows, columns, band_thresholds(rows, columns, bands), torch.device("cpu")).long()


def ours(x: Tensor, weight: Tensor, bias: Tensor, router: RouterParameters) -> Tensor:
    """Our layer behind the published router."""
    thresholds = band_thresholds(*weight.shape, len(router.kernel_bias))
    means = segment_means(x, SEGMENTS)
    channel, filters, kernel = published_gates(means, router)
    bases = follow_weight(weight, split_bands(weight.detach(), thresholds), thresholds)
    return virtual_width_linear(
        x, SEGMENTS, weight, bases, kernel - 1, bias, input_gain=channel, output_gain=filters
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "columns", "bands", "table"),
    [
        # Here the two tables are one.
        (18, 36, 2, "published"),
        (5, 40, 3, "published"),
        (4, 35, 4, "published"),
        (5, 31, 5, "published"),
        # And here the published algorithm is given ours.
        (37, 26, 4, "ours"),
        (20, 33, 8, "ours"),
    ],
)
def test_the_published_algorithm_is_the_same_function(
    rows: int, columns: int, bands: int, table: str, dtype: torch.dtype, assert_close: Callable[..., None]
) -> None:
    bins = our_map(rows, columns, bands)
    if table == "published":
        assert torch.equal(published_band_map(rows, columns, bands), bins)
    x = torch.randn(17, columns, dtype=dtype, requires_grad=True)
    weight = torch.randn(rows, columns, dtype=dtype, requires_grad=True)
    bias = torch.randn(rows, dtype=dtype, requires_grad=True)
    router = router_parameters(columns, rows, bands, scale=0.5, dtype=dtype)
    trained = {"x": x, "weight": weight, "bias": bias} | router.tensors()
    found, expected = (
        ours(x, weight, bias, router),
        published_forward(x, SEGMENTS, weight, bias, router, bins),
    )
    assert_close("output", found, expected, "published", dtype)
    dy = torch.randn_like(found)
    both = [torch.autograd.grad(y, list(trained.values()), dy) for y in (found, expected)]
    for name, ours_of_it, published_of_it in zip(trained, *both, strict=True):
        assert_close(name, ours_of_it, published_of_it, "published", dtype)


def test_both_start_as_the_plain_layer(assert_close: Callable[..., None]) -> None:
    router = router_parameters(12, 9, 3)
    x, weight, bias = torch.randn(17, 12), torch.randn(9, 12), torch.randn(9)
    plain = torch.nn.functional.linear(x, weight, bias)
    bins = our_map(9, 12, 3)
    assert_close("ours", ours(x, weight, bias, router), plain, "published", torch.float32)
    published = published_forward(x, SEGMENTS, weight, bias, router, bins)
    assert_close("published", published, plain, "published", torch.float32)


def test_where_the_tables_differ() -> None:
    """At real sizes one bin in 1,600: the published cuts share out the half plane, ours the full grid."""
    published, own = published_band_map(3420, 1280, 4), our_map(3420, 1280, 4)
    assert 0 < (published != own).float().mean() < 1e-3
    assert (published - own).abs().max() == 1, "and those lie at a cut"


def test_the_published_table_parts_bins_of_one_radius() -> None:
    """Then its masks are no longer even, and the inverse transform averages a bin with its mirror."""
    published, own = published_band_map(8, 14, 8), our_map(8, 14, 8)
    assert not torch.equal(published[1:], published[1:].flip(0))
    assert torch.equal(own[1:], own[1:].flip(0))


def test_the_published_table_needs_divisible_sizes() -> None:
    with pytest.raises(ValueError, match="8 bands do not divide the 3420 x 641 bins"):
        published_band_map(3420, 1280, 8)
    assert our_map(3420, 1280, 8).max() == 7

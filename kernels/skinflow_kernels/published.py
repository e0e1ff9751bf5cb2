"""The FDLinear of the FDConv authors, written anew from its formulas; for tests and benchmarks only.

It keeps the spectrum of a weight, and for each image: scales the spectrum band by band, transforms it back,
scales columns and rows of the weight, and applies it. Ours gives the same numbers at a fraction of the cost;
where the two differ is stated in tests/kernels/test_published.py.
Source: FDLinear of github.com/Linwei-Chen/FDConv, at commit bf7a33d; the text of arXiv 2601.09136 names it.
Axis letters: T tokens packed over images, S images, I input features, O output features, K bands, A features
of the router.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from skinflow_kernels.segments import segment_lengths


@dataclass(frozen=True)
class RouterParameters:
    """The published router: one hidden layer; a head each for input channels, output channels and bands."""

    hidden: Tensor  # (A, I)
    norm: Tensor  # (A,)
    channel_weight: Tensor  # (I, A)
    channel_bias: Tensor  # (I,)
    filter_weight: Tensor  # (O, A)
    filter_bias: Tensor  # (O,)
    kernel_weight: Tensor  # (K, A)
    kernel_bias: Tensor  # (K,)

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def router_parameters(
    columns: int, rows: int, bands: int, scale: float = 0.0, dtype: torch.dtype = torch.float32
) -> RouterParameters:
    """A router for a weight (rows, columns); its heads are `scale` times normal: 0 is the published start."""
    hidden = max(columns // 16, 16)

    def normal(factor: float, *shape: int) -> Tensor:
        return (torch.randn(shape, dtype=dtype) * factor).requires_grad_()

    heads = [normal(scale, *shape) for size in (columns, rows, bands) for shape in ((size, hidden), (size,))]
    norm = torch.ones(hidden, dtype=dtype).requires_grad_()
    return RouterParameters(normal(columns**-0.5, hidden, columns), norm, *heads)


def published_gates(means: Tensor, router: RouterParameters) -> tuple[Tensor, Tensor, Tensor]:
    """The gates in (0, 2) of input channels (S, I), output channels (S, O) and bands (S, K), from means."""
    hidden = functional.linear(means, router.hidden)
    hidden = functional.rms_norm(hidden, router.norm.shape, router.norm, eps=1e-6).relu()
    channel = functional.linear(hidden, router.channel_weight, router.channel_bias)
    filters = functional.linear(hidden, router.filter_weight, router.filter_bias)
    kernel = functional.linear(hidden, router.kernel_weight, router.kernel_bias)
    return 2 * channel.sigmoid(), 2 * filters.sigmoid(), 2 * kernel.sigmoid()


def published_band_map(rows: int, columns: int, bands: int) -> Tensor:
    """The published band of every bin of the half plane: (rows, columns // 2 + 1), int64.

    The bins of the half plane in the order of their float32 radius, cut in K chunks of equal length; so bins
    of equal radius may be parted. ValueError unless K divides their number.
    """
    half = (rows, columns // 2 + 1)
    if half[0] * half[1] % bands:
        raise ValueError(f"{bands} bands do not divide the {half[0]} x {half[1]} bins of the half plane")
    radius = (torch.fft.fftfreq(rows)[:, None].square() + torch.fft.rfftfreq(columns).square()).sqrt()
    order = radius.flatten().argsort()
    band_of_bin = torch.empty_like(order)
    band_of_bin[order] = torch.arange(len(order)) * bands // len(order)
    return band_of_bin.view(half)


def published_spectrum(weight: Tensor) -> Tensor:
    """What the published module stores of a weight (O, I): (O, I // 2 + 1, 2), real and imaginary."""
    return torch.view_as_real(torch.fft.rfft2(weight)) / (min(weight.shape) // 2)


def published_forward(
    x: Tensor,
    segments: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    router_parameters: RouterParameters,
    band_index_map: Tensor,
) -> Tensor:
    """The published layer for x (T, I), from a weight (O, I): (T, O).

    `band_index_map` (O, I // 2 + 1) holds the band of every bin, as `published_band_map` gives it.
    """
    spectrum = published_spectrum(weight)
    return published_forward_from_spectrum(x, segments, spectrum, bias, router_parameters, band_index_map)


def published_forward_from_spectrum(
    x: Tensor,
    segments: Tensor,
    spectrum: Tensor,
    bias: Tensor | None,
    router_parameters: RouterParameters,
    band_index_map: Tensor,
) -> Tensor:
    """The published layer as it trains, from its stored spectrum: (T, O).

    Like the original it generates the weight of an image in a checkpoint, and so once more in backward.
    """
    shape = (len(spectrum), x.shape[1])

    def one_image(image: Tensor) -> Tensor:
        channel, filters, kernel = published_gates(image.mean(0, keepdim=True), router_parameters)
        scaled = torch.view_as_complex(spectrum * (min(shape) // 2)) * kernel[0, band_index_map]
        weight = torch.fft.irfft2(scaled, s=shape) * channel * filters.T
        return functional.linear(image, weight, bias)

    images = x.split(segment_lengths(segments, len(x)))
    return torch.cat([checkpoint(one_image, image, use_reentrant=False) for image in images])

"""The least time that a row could take: its bytes through memory, or its operations through the tensor cores.

Peaks are meant to be those of NVIDIA's data sheets, dense (what the sheets give "with sparsity" is halved).
They were written from memory and partly confirmed elsewhere, not read off the sheets: look at the sheet named
before a share is published. Nothing reaches them, so a share of 70 or 80 % is good. Axis letters: T tokens, S
images, I input features, O output features, K bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

FORWARD, BACKWARD, BOTH = "forward", "backward", "both"


@dataclass(frozen=True)
class Peak:
    """What a GPU can do: 16-bit and 32-bit TFLOP/s of matrix products, and TB/s of its memory."""

    name: str
    sixteen_bits: float
    thirty_two_bits: float
    bandwidth: float
    source: str

    def flops(self, dtype: torch.dtype) -> float:
        """Operations per second; in float32 without TF32, as our products are by default."""
        return 1e12 * (self.thirty_two_bits if dtype == torch.float32 else self.sixteen_bits)


_H100 = "NVIDIA H100 Tensor Core GPU data sheet"
_H100_PCIE = "NVIDIA H100 PCIe GPU product brief PB-11133"
_H200 = "NVIDIA H200 Tensor Core GPU data sheet"
_A100 = "NVIDIA A100 Tensor Core GPU data sheet"
# The name that torch gives a GPU. A part of one (MIG) has a longer name, and so no floor.
PEAKS = {
    peak.name: peak
    for peak in (
        Peak("NVIDIA H100 80GB HBM3", 989.4, 66.9, 3.35, _H100),
        Peak("NVIDIA H100 NVL", 835.5, 60.0, 3.9, _H100),
        Peak("NVIDIA H100 PCIe", 756.5, 51.2, 2.04, _H100_PCIE),
        Peak("NVIDIA H200", 989.4, 66.9, 4.8, _H200),
        Peak("NVIDIA H200 NVL", 835.5, 60.0, 4.8, _H200),
        Peak("NVIDIA A100-SXM4-80GB", 312.0, 19.5, 2.039, _A100),
        Peak("NVIDIA A100 80GB PCIe", 312.0, 19.5, 1.935, _A100),
        Peak("NVIDIA A100-SXM4-40GB", 312.0, 19.5, 1.555, _A100),
        Peak("NVIDIA A100-PCIE-40GB", 312.0, 19.5, 1.555, _A100),
    )
}


def peak_of(device: torch.device) -> Peak | None:
    """The peaks of a GPU that the table knows; None for any other device: no floor is told there."""
    return PEAKS.get(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


@dataclass(frozen=True)
class Sizes:
    """What the work of a layer depends on; `item` is the number of bytes of an element."""

    tokens: int
    images: int
    columns: int
    rows: int
    bands: int
    item: int

    @property
    def weight(self) -> int:
        """D: the elements of the weight."""
        return self.columns * self.rows


@dataclass(frozen=True)
class Work:
    """Operations and bytes that cannot be avoided: every input read once, every output written once."""

    operations: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.bytes + other.bytes)

    def milliseconds(self, peak: Peak, dtype: torch.dtype) -> float:
        """The time of whichever takes longer, as if the other were hidden behind it."""
        return 1e3 * max(self.operations / peak.flops(dtype), self.bytes / (peak.bandwidth * 1e12))


def linear_work(sizes: Sizes, mode: str, *, frozen: bool) -> Work:
    """nn.Linear: a product forward; one more for x, and one for a weight that is trained."""
    product = 2 * sizes.tokens * sizes.weight
    x, y = sizes.tokens * sizes.columns * sizes.item, sizes.tokens * sizes.rows * sizes.item
    weight = sizes.weight * sizes.item
    if mode == FORWARD:
        return Work(product, x + weight + y)
    if mode == BACKWARD:
        # dy, the weight and x are read; dx and dW written. Without dW x is not needed.
        trained = Work(2 * product, y + weight + x + x + weight)
        return Work(product, y + weight + x) if frozen else trained
    return linear_work(sizes, FORWARD, frozen=frozen) + linear_work(sizes, BACKWARD, frozen=frozen)


def layer_work(sizes: Sizes, mode: str, *, training: str) -> Work:
    """The layer by mixing a weight for each image: the products of nn.Linear, and 2 S K D to mix it.

    Backward mixes once more for dx. The outer products are needed for the routers' gradients even where the
    weight is frozen; each is multiplied with K bases. Bases that follow also get a gradient, 2 S K D, and K
    matrices are written, read again for the transforms (whose operations are not counted) and become one.
    """
    product = 2 * sizes.tokens * sizes.weight
    mixing = 2 * sizes.images * sizes.bands * sizes.weight
    x, y = sizes.tokens * sizes.columns * sizes.item, sizes.tokens * sizes.rows * sizes.item
    weight, bases = sizes.weight * sizes.item, sizes.bands * sizes.weight * sizes.item
    gains = 4 * sizes.images * (sizes.columns + sizes.rows + sizes.bands)
    if mode == FORWARD:
        return Work(product + mixing, x + weight + bases + gains + y)
    if mode == BOTH:
        return layer_work(sizes, FORWARD, training=training) + layer_work(sizes, BACKWARD, training=training)
    written = {"frozen": 0, "fixed bases": weight, "trained": weight + 2 * bases}[training]
    operations = 2 * product + 2 * mixing + (mixing if training == "trained" else 0)
    return Work(operations, y + x + weight + bases + 2 * gains + x + written)

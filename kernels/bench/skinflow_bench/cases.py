"""The tensors of one shape and one pack of images, and the order in which cases are measured.

Axis letters: T tokens, S images, I input features, O output features, K bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product

import torch
from torch import Tensor

from skinflow_bench.floors import Sizes
from skinflow_kernels import band_thresholds, split_bands

QWEN2_5 = ["1280->3420", "3420->1280"]
SHAPES = [*QWEN2_5, "1152->4304", "4304->1152"]
"""Input and output features: the MLPs of the vision towers of Qwen2.5-VL, and of Qwen3-VL from 8B on."""

RAGGED = (4096, 1, 77, 1024, 300, 2048, 16, 640, 1024, 3, 1500, 256, 900, 64, 333, 2000)
PACKS = ["16x1024", "4x4096", "16x256", "16x4096", "1x1024", "64x64", "ragged"]
"""Images x tokens of each."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Setting:
    """Which case: everything but its numbers."""

    shape: str
    pack: str
    bands: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.shape}, {self.pack}, K={self.bands}, {self.dtype}"

    @property
    def features(self) -> tuple[int, int]:
        """I and O. ValueError for a shape that is not written as 1280->3420."""
        columns, arrow, rows = self.shape.partition("->")
        if not (arrow and columns.isdigit() and rows.isdigit()):
            raise ValueError(f"shape {self.shape!r}; expected one like 1280->3420")
        return int(columns), int(rows)

    @property
    def lengths(self) -> list[int]:
        """The tokens of each image. ValueError unless the pack is written as 16x1024, 5+1+3 or ragged."""
        if self.pack == "ragged":
            return list(RAGGED)
        images, times, tokens = self.pack.partition("x")
        if times and images.isdigit() and tokens.isdigit():
            return [int(tokens)] * int(images)
        if all(part.isdigit() for part in self.pack.split("+")):
            return [int(part) for part in self.pack.split("+")]
        raise ValueError(f"pack {self.pack!r}; expected one like 16x1024 or 300+1+77, or 'ragged'")


def settings(
    shapes: Sequence[str], packs: Sequence[str], bands: Sequence[int], dtypes: Sequence[str]
) -> list[Setting]:
    """All combinations, those that matter most first: time may run out."""
    found = [Setting(*each) for each in product(shapes, packs, bands, dtypes)]
    return sorted(
        found,
        key=lambda s: (dtypes.index(s.dtype), s.bands != 4, s.shape not in QWEN2_5, packs.index(s.pack)),
    )


class Case:
    """The tensors of a setting; whatever could be trained asks for its gradient."""

    def __init__(self, setting: Setting, device: torch.device, seed: int = 0) -> None:
        self.setting, self.device = setting, device
        self.columns, self.rows = setting.features
        self.lengths, self.dtype = setting.lengths, DTYPES[setting.dtype]
        self.tokens, self.images = sum(self.lengths), len(self.lengths)
        self._random = torch.Generator(device).manual_seed(seed)
        self.segments = torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32, device=device)
        self.x = self._normal(self.tokens, self.columns)
        self.weight = self._normal(self.rows, self.columns, scale=self.columns**-0.5)
        self.bias = self._normal(self.rows)
        self.dy = self._normal(self.tokens, self.rows).detach()
        self.thresholds = band_thresholds(self.rows, self.columns, setting.bands)
        self.bases = split_bands(self.weight.detach(), self.thresholds).requires_grad_()
        self.band_delta = self._gain(self.images, setting.bands, around=0)
        self.input_gain = self._gain(self.images, self.columns, around=1)
        self.output_gain = self._gain(self.images, self.rows, around=1)

    def _normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        found = torch.randn(shape, generator=self._random, device=self.device)
        return (scale * found).to(self.dtype).requires_grad_()

    def _gain(self, *shape: int, around: float) -> Tensor:
        found = torch.randn(shape, generator=self._random, device=self.device)
        return (around + 0.3 * found).requires_grad_()

    @property
    def gains(self) -> dict[str, Tensor]:
        """What routers give, by the names of the layer's arguments."""
        return {
            "band_delta": self.band_delta,
            "input_gain": self.input_gain,
            "output_gain": self.output_gain,
        }

    @cached_property
    def sizes(self) -> Sizes:
        """What the floor depends on."""
        item = self.x.element_size()
        return Sizes(self.tokens, self.images, self.columns, self.rows, self.setting.bands, item)

    @property
    def equal(self) -> bool:
        """Whether all images have as many tokens."""
        return len(set(self.lengths)) == 1

"""Goes through all launches as on a Hopper GPU, which need not be there: compiles, and runs nothing.

What is between a call of an operation and a compiled kernel is Triton's and ours: which arguments are None,
are 1 (a constant to Triton), or a multiple of 16, and which numbers make it compile anew. The interpreter
knows none of that. Prints a line of JSON for each case, with what it launched and compiled. See
test_compiled.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from skinflow_kernels import ACTIVATIONS, activated_means, router_gains, segment_means, triton_support
from skinflow_kernels import virtual_width_linear as layer
from skinflow_kernels.backends import VARIABLE

launched: Counter[str] = Counter()
compiled: Counter[str] = Counter()


class Hopper:
    """Of a driver what compiling asks for."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def pretend() -> None:
    """From here on kernels are compiled when they are launched, and that is all."""
    driver.set_active(Hopper())
    run = JITFunction.run

    def warm_up(kernel: Any, *args: Any, grid: Any, **keywords: Any) -> None:
        launched[kernel.fn.__name__] += 1
        assert all(size < 2**16 for size in grid[1:]), f"{kernel.fn.__name__}: a grid of {grid}"
        run(kernel, *args, grid=grid, **(keywords | {"warmup": True}))

    JITFunction.run = warm_up
    triton.knobs.runtime.jit_post_compile_hook = lambda **said: compiled.update(
        [said["fn"].jit_function.fn.__name__]
    )
    triton_support._without_a_gpu = lambda device: ""
    torch._assert_async = lambda *_: None  # what it looks at was never written
    os.environ[VARIABLE] = "triton"


def linear(
    lengths: list[int], columns: int, rows: int, bands: int, *frozen: str, optional: bool = True
) -> Callable[[], None]:
    """A layer in bfloat16, forward and backward."""

    def run() -> None:
        images = len(lengths)

        def normal(name: str, *shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
            return torch.randn(shape, dtype=dtype).requires_grad_(name not in frozen)

        given = {
            "x": normal("x", sum(lengths), columns),
            "weight": normal("weight", rows, columns),
            "bases": normal("bases", bands, rows, columns),
            "band_delta": normal("band_delta", images, bands, dtype=torch.float32),
        }
        if optional:
            given["bias"] = normal("bias", rows)
            given["input_gain"] = normal("input_gain", images, columns, dtype=torch.float32)
            given["output_gain"] = normal("output_gain", images, rows, dtype=torch.float32)
        layer(segments=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), **given).sum().backward()

    return run


def descriptor(images: int, features: int, masked: bool) -> Callable[[], None]:
    """Means, every activation, gains; forward and backward."""

    def run() -> None:
        tokens, segments = 17 * images, torch.arange(images + 1) * 17
        keep = torch.rand(tokens) < 0.5 if masked else None
        up, gate = torch.randn(2, tokens, features, dtype=torch.bfloat16, requires_grad=True).unbind()
        total = segment_means(up, segments, keep).sum()
        for activation in ACTIVATIONS:
            for gated in (gate, None):
                hidden, means = activated_means(up, gated, segments, keep, activation=activation)
                total = total + hidden.sum() + means.sum()
        width = max(features // 16, 16)
        weights = [torch.randn(size, width, requires_grad=True) for size in (features, 1)]
        gains = router_gains(
            means,
            torch.randn(width, features),
            torch.randn(width),
            weights,
            [torch.randn(len(weight)) for weight in weights],
            [1.0, 0.0],
        )
        sum((gain.sum() for gain in gains), total).backward()

    return run


CASES = {
    "long images": linear([300, 500], 20, 36, 4),
    "long images again": linear([301] * 5, 20, 36, 4),
    "sixteen of them": linear([256] * 16, 20, 36, 4),
    "short images": linear([5, 1, 7], 20, 36, 4),
    "short images again": linear([3] * 6, 20, 36, 4),
    "frozen": linear([300, 500], 20, 36, 4, "weight", "bases", "bias"),
    "frozen bases, the layer alone": linear([300, 500], 20, 36, 4, "bases", optional=False),
    "one of everything": linear([1], 1, 1, 1),
    "one long image and one band": linear([300], 48, 64, 1),
    "no image": linear([], 20, 36, 4),
    "descriptor": descriptor(3, 70, True),
    "descriptor again": descriptor(5, 70, True),
    "descriptor of one feature": descriptor(1, 1, False),
    "descriptor of a wide layer": descriptor(2, 3424, False),
}


def main() -> None:
    """Every case in turn: a later one finds compiled what an earlier one launched."""
    pretend()
    for name, run in CASES.items():
        launched.clear()
        compiled.clear()
        run()
        print(json.dumps({"case": name, "launched": launched, "compiled": compiled}))


if __name__ == "__main__":
    main()

"""Which sizes of tiles are fastest, kernel by kernel: a modest grid over `tilings`, measured on this GPU.

A kernel is tuned through what it is used for, with all other sizes as they are shipped; sizes of which the
result is wrong, or that do not fit the GPU, are said and left out. `warps` and `stages` are shared by all
products.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import torch

from skinflow_bench.cases import QWEN2_5, Case, Setting
from skinflow_bench.checks import error_ratio, tolerances
from skinflow_bench.clocks import Clock, measure, reason
from skinflow_bench.floors import BOTH, FORWARD
from skinflow_bench.rows import backend, layer
from skinflow_kernels.virtual_width import tilings


@dataclass(frozen=True)
class Tuned:
    """A kernel: the row and the packs that show its cost, and the sizes that are tried."""

    kernel: str
    training: str
    mode: str
    packs: tuple[str, ...]
    grid: Mapping[str, Sequence[int]]


LONG, SHORT = ("16x1024", "4x4096"), ("64x64",)
MIB = 2**20
_TILES = {"tokens": (64, 128, 256), "columns": (128, 256), "inner": (32, 64)}
_SLABS = {"slab_bytes": (12 * MIB, 24 * MIB, 36 * MIB), "slab_columns": (128, 256, 512)}
_MIX = {"mix_images": (4, 8, 16), "mix_block": (256, 512, 1024)}
_FEW = {"few_block": (32, 64, 128), "few_inner": (32, 64)}
_OUTER = {"outer_rows": (64, 128), "outer_columns": (64, 128), "outer_tokens": (32, 64, 128)}
_RUN = {"warps": (4, 8), "stages": (2, 3, 4)}
TUNED = (
    Tuned("image_matmul", "frozen", FORWARD, LONG, _TILES | _RUN),
    Tuned("mix", "frozen", FORWARD, ("16x1024", "16x256"), _MIX),
    Tuned("slabs", "frozen", FORWARD, ("16x1024", "16x256"), _SLABS),
    Tuned("image_matmul that mixes", "frozen", FORWARD, SHORT, _FEW | _RUN),
    Tuned("whether to mix within", "frozen", FORWARD, (*SHORT, "16x256"), {"few_tokens": (1, 128, 512)}),
    Tuned("outer", "fixed bases", BOTH, LONG, _OUTER | _RUN),
    Tuned("spread", "trained", BOTH, ("16x1024",), {"spread_block": (256, 512, 1024, 2048)}),
)


def candidates(tuned: Tuned, dtype: torch.dtype) -> list[dict[str, int]]:
    """The sizes to try, those that are shipped first."""
    shipped = asdict(tilings.tiling(dtype))
    first = {name: shipped[name] for name in tuned.grid}
    grid = [dict(zip(tuned.grid, values, strict=True)) for values in product(*tuned.grid.values())]
    return [first, *(each for each in grid if each != first)]


def tune(
    device: torch.device, clock: Clock, *, dtype: str = "bf16", minutes: float, only: str = ""
) -> Iterator[str]:
    """For every kernel, shape and pack the best sizes, as lines to print."""
    each = 60 * minutes / sum(len(t.packs) * len(QWEN2_5) for t in TUNED if only.lower() in t.kernel.lower())
    for tuned in TUNED:
        if only.lower() not in tuned.kernel.lower():
            continue
        for shape in QWEN2_5:
            for pack in tuned.packs:
                yield from _tune(tuned, Setting(shape, pack, 4, dtype), device, clock, each)


def _tune(
    tuned: Tuned, setting: Setting, device: torch.device, clock: Clock, seconds: float
) -> Iterator[str]:
    case = Case(setting, device)
    prepared = layer(backend("triton"), tuned.training)(case)
    timed = prepared.timed(tuned.mode, case.dy)
    most = tolerances()["layer", str(case.dtype).removeprefix("torch.")]
    tilings.override()
    y = prepared.forward()
    right = [y, *prepared.gradients(y, case.dy)]
    found: list[tuple[float, dict[str, int]]] = []
    refused: list[str] = []
    grid = candidates(tuned, case.dtype)
    begun = time.monotonic()
    tried = 0
    try:
        for sizes in grid:
            if time.monotonic() - begun > seconds and tried:
                break
            tried += 1
            tilings.override(**sizes)
            try:
                y = prepared.forward()
                ours = [y, *prepared.gradients(y, case.dy)]
            except Exception as error:
                refused.append(f"{sizes}: {reason(error)}")
                clock.recover()
                continue
            if not all(error_ratio(a, b) <= most for a, b in zip(ours, right, strict=True)):
                refused.append(f"{sizes}: WRONG results")
                continue
            samples, why = measure(clock, {"": timed})
            refused += [f"{sizes}: {each}" for each in why.values()]
            found += [(samples[name].quantiles()[1], sizes) for name in samples]
    finally:
        tilings.override()
    yield f"{tuned.kernel}: {setting}, {tuned.training}, {tuned.mode}: tried {tried} of {len(grid)} sizes"
    shipped = next((ms for ms, sizes in found if sizes == grid[0]), None)
    for ms, sizes in sorted(found, key=lambda each: each[0])[:3]:
        yield f"  {ms:9.4f} ms  {sizes}"
    if shipped is not None:
        yield f"  {shipped:9.4f} ms  as shipped: {grid[0]}"
    yield from (f"  left out  {each}" for each in refused)

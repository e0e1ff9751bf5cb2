"""What the dynamic encoder costs a whole vision tower: Qwen2.5-VL's own sizes, CPU, one thread, as ratios.

    python tests/benchmarks/vision_tower.py [--repeats 3] [--images 4] [--side 32]

A quarter of the tower is built (8 of its 32 blocks, the last with full attention and dynamic projections),
because its quarters are alike; so the ratio is that of the whole. Plain and dynamic towers take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from types import SimpleNamespace

import torch
import transformers
from torch import nn
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from skinflow_plugins.models.dynamic import DynamicSettings
from skinflow_plugins.models.dynamic.model import ROUTER, make_dynamic
from skinflow_plugins.models.families import family_named

DEPTH = 8
BANDS = 4
SIZES = {"gate": (3420, 1280), "up": (3420, 1280), "down": (1280, 3420)}
"""Rows and columns of the weights."""


def tower(*, dynamic: bool) -> nn.Module:
    """A quarter of Qwen2.5-VL's vision tower, with random weights; routers away from identity."""
    from skinflow_kernels import band_thresholds

    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(vision_config={"depth": DEPTH, "fullatt_block_indexes": [DEPTH - 1]})
    found = Qwen2_5_VisionTransformerPretrainedModel._from_config(config.vision_config)
    if dynamic:
        model = SimpleNamespace(model=SimpleNamespace(visual=found))
        settings = DynamicSettings(
            layers=(DEPTH - 1,),
            projections=tuple(SIZES),
            bands=BANDS,
            thresholds={name: band_thresholds(*size, BANDS) for name, size in SIZES.items()},
        )
        make_dynamic(model, family_named("qwen2_5_vl"), settings)  # type: ignore[arg-type]
        for name, parameter in found.named_parameters():
            if ROUTER in name:
                nn.init.normal_(parameter, std=0.05)
    return found


def milliseconds(model: nn.Module, pixels: torch.Tensor, grid: torch.Tensor, *, backward: bool) -> float:
    """One forward, or one forward and backward with every weight trained."""
    model.zero_grad(set_to_none=True)
    begun = time.perf_counter()
    with torch.set_grad_enabled(backward):
        out = model(pixels, grid_thw=grid).pooler_output
        if backward:
            out.square().mean().backward()
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--side", type=int, default=32, help="patches along each side of an image")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    grid = torch.tensor([[1, arguments.side, arguments.side]] * arguments.images)
    pixels = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * 14 * 14)
    towers = {"plain": tower(dynamic=False), "dynamic": tower(dynamic=True)}
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, one thread, float32")
    print(f"{arguments.images} images of {arguments.side**2} tokens, K = {BANDS}\n")
    print("| | plain, ms | dynamic, ms | ratio |\n|---|---:|---:|---:|")
    for backward in (False, True):
        times: dict[str, list[float]] = {name: [] for name in towers}
        for turn in range(arguments.repeats + 1):
            for name in sorted(towers, reverse=bool(turn % 2)):
                took = milliseconds(towers[name], pixels, grid, backward=backward)
                if turn:  # the first turn derives the bases and warms the caches
                    times[name].append(took)
        plain, dynamic = statistics.median(times["plain"]), statistics.median(times["dynamic"])
        what = "forward and backward" if backward else "forward"
        print(f"| {what} | {plain:.0f} | {dynamic:.0f} | {dynamic / plain:.3f} |", flush=True)


if __name__ == "__main__":
    main()

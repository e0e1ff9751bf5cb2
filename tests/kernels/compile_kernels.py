"""Compiles every kernel for GPUs that need not be here; prints a line of JSON for each. See test_compiled."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from skinflow_kernels import triton_tiles as of_tiles
from skinflow_kernels.descriptor import ACTIVATIONS
from skinflow_kernels.descriptor import triton_kernels as of_descriptor
from skinflow_kernels.descriptor.choice import BLOCK_N, BLOCK_T, REDUCE, WARPS, head_sizes
from skinflow_kernels.virtual_width import triton_kernels as of_layer
from skinflow_kernels.virtual_width.tilings import SIXTEEN_BITS, THIRTY_TWO_BITS

PTXAS = next(Path(triton.__file__).parent.rglob("bin/ptxas*"))
OF_LAYER = {
    "*fp32": {"delta", "gain_in", "gain_out", "partial", "d_delta", "d_gain", "products"},
    "": {"tokens", "weight", "bases", "bias", "other", "output", "dy", "x", "d_weight", "d_bases", "mixed"},
}
OF_DESCRIPTOR = {
    "*fp32": {"partial", "kept", "means", "counts", "d_means", "z", "norm", "weight", "bias", "gains"},
    "": {"x", "d_x", "up", "gate", "hidden", "d_hidden", "d_up", "d_gate"},
    "fp32": {"epsilon", "around"},
}
OF_TILES = {"*fp32": {"partial", "sums"}, "*i64": {"image", "row"}}
COMMON = {"*i64": {"tile_image", "tile_row", "first"}, "*i32": {"segments"}, "*i1": {"keep", "right"}}
ALIGN = 4  # 3420


def compiled(
    module: ModuleType, name: str, dtype: str, capability: int, warps: int, stages: int, **constants: Any
) -> dict[str, Any]:
    """What became of a kernel: its registers, what did not fit into them, and what instructions it has."""
    kernel = getattr(module, name)
    kinds = {of_layer: OF_LAYER, of_descriptor: OF_DESCRIPTOR, of_tiles: OF_TILES}[module]
    kinds = [*kinds.items(), *COMMON.items()]
    types = dict.fromkeys(kernel.arg_names, "i32")
    for kind, names in kinds:
        types |= {each: kind or f"*{dtype}" for each in kernel.arg_names if each in names}
    if module is of_layer:
        types |= {"first": "i32"} if "first" in types else {}  # a number there, a table here
    types |= dict.fromkeys(constants, "constexpr")
    places = [(i,) for i, n in enumerate(kernel.arg_names) if types[n].startswith("*")]
    source = ASTSource(
        fn=kernel,
        signature={n: types[n] for n in kernel.arg_names},
        constexprs=constants,
        attrs={place: [["tt.divisibility", 16]] for place in places},
    )
    options = {"num_warps": warps, "num_stages": stages}
    found = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ptx = found.asm["ptx"]
    architecture = re.search(r"\.target (\w+)", ptx)
    assert architecture
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [str(PTXAS), "-v", "-arch", architecture[1], file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = (
        re.search(r"Used (\d+) registers", said),
        re.search(r"(\d+) bytes spill stores", said),
    )
    assert registers
    return {
        "kernel": name,
        "dtype": dtype,
        "capability": capability,
        "shared": found.metadata.shared,
        "registers": int(registers[1]),
        "spilled": int(spilled[1]) if spilled else 0,
        "tensor_cores": "wgmma.mma_async" in ptx or "mma.sync" in ptx,
        "copies_ahead": "cp.async" in ptx,
        "waits_behind": re.search(r"wgmma\.wait_group\.sync\.aligned\s+[1-9]", ptx) is not None,
        "mixes": constants.get("MIX", False),
    }


def main() -> None:
    """Compile all of them, with and without what can be left out."""
    for dtype, sizes, capability in (
        ("bf16", SIXTEEN_BITS, 90),
        ("bf16", SIXTEEN_BITS, 80),
        ("fp32", THIRTY_TWO_BITS, 90),
    ):
        how = {"dtype": dtype, "capability": capability, "warps": sizes.warps, "stages": sizes.stages}
        product = {"PRECISION": "ieee", "WIDEN": False, "ALIGN": ALIGN}
        for over_rows, mixes in itertools.product((True, False), repeat=2):
            absent = ("other", "partial") if over_rows else ("bias",)
            flags = {"OVER_ROWS": over_rows, "MIX": mixes, "BIAS": over_rows, "DOT_OTHER": not over_rows}
            blocks = {
                "BLOCK_T": sizes.few_block if mixes else sizes.tokens,
                "BLOCK_N": sizes.columns,
                "BLOCK_C": sizes.few_inner if mixes else sizes.inner,
            }
            gains = {"GAIN_IN": True, "GAIN_OUT": True}
            constants = flags | blocks | gains | product | dict.fromkeys(absent)
            print(json.dumps(compiled(of_layer, "image_matmul", **how, **constants)))
        blocks = {
            "BLOCK_T": sizes.outer_tokens,
            "BLOCK_O": sizes.outer_rows,
            "BLOCK_I": sizes.outer_columns,
        }
        for keeps in (True, False):
            flags = {
                "GAIN_IN": True,
                "GAIN_OUT": True,
                "D_WEIGHT": not keeps,
                "D_DELTA": True,
                "D_GAIN": True,
            }
            constants = flags | {"KEEP": keeps} | blocks | product | ({} if keeps else {"products": None})
            print(json.dumps(compiled(of_layer, "outer", **how, **constants)))
        how |= {"warps": 4}
        for images, block in ((sizes.mix_images, sizes.mix_block), (1, 2 * sizes.mix_block)):
            constants = {"IMAGES": images, "BLOCK": block, "ALIGN": ALIGN}
            print(json.dumps(compiled(of_layer, "mix", **how, **constants)))
        constants = {"D_WEIGHT": True, "BANDS": 4, "BLOCK": sizes.spread_block, "ALIGN": ALIGN}
        print(json.dumps(compiled(of_layer, "spread", **how, **constants)))
        if dtype == "bf16":
            descriptor(how)
            constants = {"WIDTH": 256, "BLOCK": sizes.tokens, "AT_ONCE": 128}
            print(json.dumps(compiled(of_tiles, "_tile_table", **how, **constants)))
            print(json.dumps(compiled(of_tiles, "_sum_tiles", **how, TILES=16, BLOCK=128)))


def descriptor(how: dict[str, Any]) -> None:
    """Compile the kernels of means, activations and gains."""
    tile = {"BLOCK_T": BLOCK_T, "BLOCK_N": BLOCK_N, "ALIGN": ALIGN, "KEEP": True}
    todo: list[tuple[str, dict[str, Any]]] = [
        ("pool", tile),
        ("spread_means", tile),
        ("average", {"TILES": 16, "BLOCK": 128}),
        ("reduce", REDUCE),
        ("head", head_sizes(213)),  # a sixteenth of 3420
        ("head", head_sizes(800)),
    ]
    for activation in ACTIVATIONS:
        flags = tile | {"ACTIVATION": activation, "GATED": True}
        todo += [("activate", flags), ("activate_backward", flags)]
    for name, constants in todo:
        own = how | {"warps": WARPS if "BLOCK_T" in constants else 4}
        print(json.dumps(compiled(of_descriptor, name, **own, **constants)))


if __name__ == "__main__":
    main()

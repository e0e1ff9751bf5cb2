"""Every kernel as a GPU would run it: compiled here for Hopper and Ampere, which needs no GPU.

Compiled are the shapes of the layers that the project is about, in the tilings that are shipped. ptxas, which
comes with Triton, tells how many registers a thread has and what did not fit into them. In a process of its
own, because this one may have Triton's interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skinflow_kernels import triton_tiles as of_tiles
from skinflow_kernels.descriptor import triton_kernels as of_descriptor
from skinflow_kernels.virtual_width import triton_kernels as of_layer

SHARED = {
    90: 227 * 1024,
    80: 163 * 1024,
}  # bytes of shared memory that a block may have (CUDA C++ guide, compute capabilities)


LAYER = {"mix", "image_matmul", "outer", "spread"}
DESCRIPTOR = {"pool", "average", "spread_means", "activate", "activate_backward", "reduce", "head"}
TILES = {"_tile_table", "_sum_tiles"}


def told(script: str) -> list[dict[str, Any]]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, str(Path(__file__).with_name(script))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def compiled() -> list[dict[str, Any]]:
    return told("compile_kernels.py")


def test_every_kernel_compiles_for_both(compiled: list[dict[str, Any]]) -> None:
    # Those that others call are compiled with them.
    within = {"_multiple", "_tile", "_leave_sums", "_tanh", "_sigmoid", "_activated", "sum_of_tiles"}
    for module, known in ((of_layer, LAYER), (of_descriptor, DESCRIPTOR), (of_tiles, TILES)):
        kernels = {name for name, value in vars(module).items() if hasattr(value, "arg_names")}
        assert kernels - within == known
    everything = LAYER | DESCRIPTOR | TILES
    for capability in SHARED:
        assert {each["kernel"] for each in compiled if each["capability"] == capability} == everything


def test_none_needs_more_shared_memory_than_there_is(compiled: list[dict[str, Any]]) -> None:
    for each in compiled:
        assert each["shared"] <= SHARED[each["capability"]], each


def test_sums_stay_in_registers(compiled: list[dict[str, Any]]) -> None:
    for each in compiled:
        # In float32 without TF32 there are no tensor cores, and Ampere has no asynchronous ones: there a few
        # bytes that are put away once for each image do not matter.
        most = 0 if each["dtype"] == "bf16" and each["capability"] == 90 else 128
        assert each["spilled"] <= most, each


def test_products_use_tensor_cores_and_copy_ahead(compiled: list[dict[str, Any]]) -> None:
    products = [each for each in compiled if each["kernel"] in ("image_matmul", "outer")]
    for each in products:
        if each["dtype"] == "bf16":
            assert each["tensor_cores"], each
        if not each["mixes"]:  # weights that are mixed on the way cannot be copied ahead
            assert each["copies_ahead"], each
            # One product waits for the one before it, and not for itself.
            assert each["waits_behind"] or each["dtype"] == "fp32" or each["capability"] == 80, each


def test_all_launches_compile_and_another_batch_compiles_nothing_anew() -> None:
    cases = {each["case"]: each for each in told("launch_kernels.py")}
    assert set().union(*(each["launched"] for each in cases.values())) == LAYER | DESCRIPTOR | TILES
    # What is mixed beforehand or on the way, and kept for bases that are trained, or not.
    assert "mix" in cases["long images"]["launched"]
    assert "mix" not in cases["short images"]["launched"]
    assert "spread" in cases["long images"]["launched"]
    assert "spread" not in cases["frozen"]["launched"]
    assert not cases["sixteen of them"]["compiled"]
    assert not cases["short images again"]["compiled"]
    assert not cases["descriptor again"]["compiled"]
    # Mixing for five images is another kernel than for two.
    assert set(cases["long images again"]["compiled"]) <= {"mix"}

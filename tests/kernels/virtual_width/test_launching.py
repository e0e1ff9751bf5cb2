from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skinflow_kernels.triton_support import launching_on, product_precision
from skinflow_kernels.virtual_width.launching import mixed_at_once, parts, step_of
from skinflow_kernels.virtual_width.tilings import SIXTEEN_BITS, override, tiling

SIZES = st.integers(1, 5000)


@given(SIZES, SIZES, st.integers(4, 9).map(lambda power: 2**power))
def test_slabs_are_whole_tiles_and_about_equal(width: int, most: int, tile: int) -> None:
    step = step_of(width, most, tile)
    assert step <= max(most, tile)
    slabs = list(parts(width, step))
    assert [slabs[0].start, slabs[-1].stop] == [0, width]
    assert all(one.stop == other.start for one, other in pairwise(slabs))
    assert all(slab.stop - slab.start == step for slab in slabs[:-1])
    assert step % tile == 0 or len(slabs) == 1
    fewer = -(-width // (max(most // tile, 1) * tile))
    assert len(slabs) <= fewer, "no more slabs than there have to be"


@given(st.integers(1, 256), SIZES, SIZES, st.sampled_from([2, 4]))
def test_what_is_mixed_at_once_fits(images: int, width: int, inner: int, itemsize: int) -> None:
    together, step = mixed_at_once(images, width, inner, itemsize, SIXTEEN_BITS)
    assert 1 <= together <= images
    room = SIXTEEN_BITS.slab_bytes // (inner * itemsize)
    assert together * step <= room
    assert together == images or step >= SIXTEEN_BITS.slab_columns or step == width


def test_tokens_are_not_read_for_narrow_slabs_again_and_again() -> None:
    """Sixteen images, back from 3420 features: eight at a time leave 384 columns, all would leave 128."""
    assert mixed_at_once(16, 1280, 3420, 2, SIXTEEN_BITS) == (8, 384)
    assert mixed_at_once(16, 3420, 1280, 2, SIXTEEN_BITS) == (16, 512)
    assert mixed_at_once(1, 3420, 1280, 2, SIXTEEN_BITS) == (1, 3420)
    assert mixed_at_once(0, 3420, 1280, 2, SIXTEEN_BITS)[0] == 0
    narrow = replace(SIXTEEN_BITS, slab_columns=1)
    assert mixed_at_once(16, 1280, 3420, 2, narrow) == (16, 128)


def test_other_sizes_until_the_usual_ones_again() -> None:
    usual = tiling(torch.bfloat16)
    override(mix_block=8)
    assert tiling(torch.bfloat16) == replace(usual, mix_block=8)
    override()
    assert tiling(torch.bfloat16) == usual
    with pytest.raises(TypeError, match="no_such_size"):
        override(no_such_size=1)
    assert tiling(torch.bfloat16) == usual


@pytest.fixture
def usual_precision() -> Iterator[None]:
    yield
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("usual_precision")
def test_float32_is_multiplied_as_torch_was_told() -> None:
    torch.set_float32_matmul_precision("highest")
    assert product_precision() == "ieee"
    torch.set_float32_matmul_precision("high")
    assert product_precision() == "tf32"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # `allow_tf32` raises from here on
    assert product_precision() == "tf32"


def test_kernels_run_where_their_arguments_are() -> None:
    there = launching_on(torch.device("cuda", 1))
    assert isinstance(there, torch.cuda.device)
    assert there.idx == 1
    with launching_on(torch.device("cpu")):
        pass

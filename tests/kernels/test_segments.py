from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skinflow_kernels import segment_lengths
from skinflow_kernels.segments import equal_runs

# No deadline: a busy machine is no mistake of ours.
LAW = settings(deadline=None, max_examples=40)
LENGTHS = st.lists(st.integers(0, 5), max_size=8)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_lengths_are_the_differences(dtype: torch.dtype) -> None:
    assert segment_lengths(torch.tensor([0, 3, 3, 7], dtype=dtype), 7) == [3, 0, 4]
    assert segment_lengths(torch.tensor([0], dtype=dtype), 0) == []


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        (torch.tensor([0.0, 7.0]), "dtype torch.float32; expected torch.int32 or torch.int64"),
        (torch.tensor([[0, 7]]), r"shape \(1, 2\); expected \(images \+ 1,\)"),
        (torch.tensor(7), r"shape \(\); expected"),
        (torch.tensor([], dtype=torch.int32), r"shape \(0,\); expected"),
        (torch.tensor([3, 4]), "starts at 3; expected 0"),
        (torch.tensor([0, 4, 2, 7]), "decreases at index 2, from 4 to 2"),
        (torch.tensor([0, 4]), "adds up to 4 tokens, while the input has 7"),
    ],
)
def test_what_is_wrong_with_segments_is_said(segments: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        segment_lengths(segments, 7)


@LAW
@given(LENGTHS)
def test_runs_cover_every_image_that_has_tokens(lengths: list[int]) -> None:
    seen = []
    for images, tokens, length in equal_runs(lengths):
        assert all(lengths[s] == length for s in range(images.start, images.stop))
        assert tokens.start == sum(lengths[: images.start])
        assert tokens.stop == sum(lengths[: images.stop])
        seen += range(images.start, images.stop)
    assert seen == [s for s, length in enumerate(lengths) if length]

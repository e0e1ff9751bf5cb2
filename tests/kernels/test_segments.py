from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from skinflow_kernels import segment_lengths, segment_means
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


@LAW
@given(LENGTHS, st.data())
def test_means_are_means(lengths: list[int], data: st.DataObject) -> None:
    tokens = sum(lengths)
    x = torch.randn(tokens, 3)
    keep = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=tokens, max_size=tokens)), dtype=torch.bool
    )
    x[~keep] = torch.nan
    masked, plain = segment_means(x, lengths, keep), segment_means(x.nan_to_num(), lengths, None)
    parts = zip(x.split(lengths), keep.split(lengths), strict=True) if lengths else ()
    for s, (part, kept) in enumerate(parts):
        expected = part[kept].mean(0) if kept.any() else torch.zeros(3)
        assert torch.allclose(masked[s], expected, atol=1e-6)
        expected = part.nan_to_num().mean(0) if len(part) else torch.zeros(3)
        assert torch.allclose(plain[s], expected, atol=1e-6)


def test_means_are_summed_in_float32() -> None:
    x = torch.ones(257, 2, dtype=torch.bfloat16)  # bfloat16 has no 257
    means = segment_means(x, [257], None)
    assert means.dtype == torch.float32
    assert torch.equal(means, torch.ones(1, 2))


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_means(masked: bool) -> None:
    lengths = [2, 2, 0, 3, 1]
    keep = torch.tensor([True, False, True, True, True, False, True, False]) if masked else None
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: segment_means(x, lengths, keep), x)


def test_an_image_of_which_nothing_is_kept_has_finite_gradients() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    means = segment_means(x, [0, 3], torch.tensor([False] * 3))
    means.sum().backward()
    assert torch.equal(means, torch.zeros(2, 2))
    assert torch.equal(x.grad, torch.zeros(3, 2))


def test_means_of_a_strided_input() -> None:
    x = torch.randn(3, 6).T
    assert torch.allclose(segment_means(x, [2, 4], None)[1], x[2:].mean(0))

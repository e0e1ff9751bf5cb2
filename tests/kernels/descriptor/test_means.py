from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from skinflow_kernels import activated_means, segment_means, triton_support
from skinflow_kernels.backends import VARIABLE

LAW = settings(max_examples=40)
LENGTHS = st.lists(st.integers(0, 5), max_size=8)


def counted(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)])


@LAW
@given(LENGTHS, st.data())
def test_means_are_means(lengths: list[int], data: st.DataObject) -> None:
    tokens = sum(lengths)
    x = torch.randn(tokens, 3)
    keep = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=tokens, max_size=tokens)), dtype=torch.bool
    )
    x[~keep] = torch.nan
    masked, plain = segment_means(x, counted(lengths), keep), segment_means(x.nan_to_num(), counted(lengths))
    parts = zip(x.split(lengths), keep.split(lengths), strict=True) if lengths else ()
    for s, (part, kept) in enumerate(parts):
        expected = part[kept].mean(0) if kept.any() else torch.zeros(3)
        assert torch.allclose(masked[s], expected, atol=1e-6)
        expected = part.nan_to_num().mean(0) if len(part) else torch.zeros(3)
        assert torch.allclose(plain[s], expected, atol=1e-6)


def test_means_are_summed_in_float32() -> None:
    x = torch.ones(257, 2, dtype=torch.bfloat16)  # bfloat16 has no 257
    means = segment_means(x, counted([257]))
    assert means.dtype == torch.float32
    assert torch.equal(means, torch.ones(1, 2))


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_means(masked: bool) -> None:
    lengths = [2, 2, 0, 3, 1]
    keep = torch.tensor([True, False, True, True, True, False, True, False]) if masked else None
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: segment_means(x, counted(lengths), keep), x)


def test_an_image_of_which_nothing_is_kept_has_finite_gradients() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    means = segment_means(x, counted([0, 3]), torch.tensor([False] * 3))
    means.sum().backward()
    assert torch.equal(means, torch.zeros(2, 2))
    assert torch.equal(x.grad, torch.zeros(3, 2))


def test_means_of_a_strided_input() -> None:
    x = torch.randn(3, 6).T
    assert torch.allclose(segment_means(x, counted([2, 4]))[1], x[2:].mean(0))


def test_wrong_segments_are_said() -> None:
    with pytest.raises(ValueError, match="adds up to 4 tokens, while the input has 7"):
        segment_means(torch.randn(7, 3), torch.tensor([0, 4]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masked", [False, True])
def test_by_triton(
    masked: bool,
    dtype: torch.dtype,
    device: str,
    assert_close: Callable[..., None],
    by_triton: Callable[[], None],
) -> None:
    lengths = [0, 40, 1, 17]
    x = torch.randn(58, 70).to(dtype)
    keep = torch.rand(58) < 0.6 if masked else None
    d_means = torch.randn(4, 70)
    if keep is not None:
        x[~keep] = torch.inf

    def found(x: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        segments, keep, d = (None if t is None else t.to(x.device) for t in (*others, d_means))
        means = segment_means(x, segments, keep)
        return means, torch.autograd.grad(means, x, d)[0]

    expected = found(x, counted(lengths), keep)
    by_triton()
    for name, one, other in zip(
        ("means", "x"), found(x.to(device), counted(lengths), keep), expected, strict=True
    ):
        assert one.dtype == other.dtype
        assert_close(name, one.cpu(), other, "means", torch.float32 if name == "means" else dtype)


def test_many_tiles_by_triton(
    device: str, assert_close: Callable[..., None], by_triton: Callable[[], None]
) -> None:
    """More tiles than are added at once; and neither segments nor what is kept are contiguous."""
    lengths = [16 * 40 + 3, 0, 16 * 17]
    x, keep = torch.randn(sum(lengths), 5), torch.rand(sum(lengths), 2) < 0.6
    segments = counted(lengths).repeat_interleave(3)[::3]
    expected = segment_means(x, segments, keep[:, 0])
    by_triton()
    found = segment_means(x.to(device), segments.to(device), keep.to(device)[:, 0])
    assert_close("means", found.cpu(), expected, "means", torch.float32)


def test_rows_apart_by_triton(
    device: str, by_triton: Callable[[], None], surrounded: Callable[[Tensor], Tensor]
) -> None:
    by_triton()
    x, segments = torch.randn(58, 70, device=device), counted([40, 18]).to(device)
    assert torch.equal(segment_means(surrounded(x), segments), segment_means(x, segments))


def test_impossible_segments_are_found_on_the_device(by_triton: Callable[[], None]) -> None:
    """What a GPU would assert later; on a CPU the assertion raises at once."""
    if not triton_support.interpreted():
        pytest.skip("a failed assertion would take the whole session's GPU away")
    by_triton()
    with pytest.raises(RuntimeError, match="end at the number of tokens"):
        segment_means(torch.randn(7, 3), counted([4, 2]))
    with pytest.raises(RuntimeError, match="end at the number of tokens"):
        activated_means(torch.randn(7, 3), None, counted([4, 2]), activation="silu")


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(0, 33), min_size=1, max_size=4), features=st.integers(1, 70))
def test_any_shape_by_triton(
    lengths: list[int], features: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, segments = torch.randn(sum(lengths), features, device=device), counted(lengths).to(device)
    monkeypatch.setenv(VARIABLE, "torch")
    expected = segment_means(x, segments)
    monkeypatch.setenv(VARIABLE, "triton")
    torch.testing.assert_close(segment_means(x, segments), expected)

"""What is wrong with the arguments is said, before a kernel reads beyond them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from skinflow_kernels import activated_means, router_gains, segment_means

TOKENS = {
    "x": torch.zeros(7, 3),
    "up": torch.zeros(7, 3),
    "gate": torch.zeros(7, 3),
    "segments": torch.tensor([0, 4, 7]),
    "keep": torch.ones(7, dtype=torch.bool),
}
ROUTER: dict[str, Any] = {
    "means": torch.zeros(2, 5),
    "reduce_weight": torch.zeros(4, 5),
    "norm_weight": torch.zeros(4),
    "head_weights": [torch.zeros(3, 4), torch.zeros(2, 4)],
    "head_biases": [torch.zeros(3), torch.zeros(2)],
    "around": [1.0, 0.0],
}


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("x", torch.zeros(7), r"x has shape \(7,\) and dtype torch.float32; expected \(tokens, features\)"),
        ("x", torch.zeros(7, 3, dtype=torch.int64), "dtype torch.int64; expected .* floating"),
        ("keep", torch.ones(6, dtype=torch.bool), r"keep has shape \(6,\); expected \(7,\)"),
        ("keep", torch.ones(7, dtype=torch.int64), "keep has dtype torch.int64; expected torch.bool"),
        ("keep", torch.ones(7, dtype=torch.bool, device="meta"), "keep is on meta; expected cpu, as x"),
        ("segments", torch.tensor([0.0, 7.0]), "segments has dtype torch.float32"),
        ("segments", torch.tensor([[0, 7]]), r"segments has shape \(1, 2\)"),
    ],
)
def test_a_mistake_in_tokens_is_said(name: str, wrong: torch.Tensor, said: str) -> None:
    given = {each: TOKENS[each] for each in ("x", "segments", "keep")} | {name: wrong}
    with pytest.raises(ValueError, match=f"^segment_means: .*{said}"):
        segment_means(**given)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (torch.zeros(7, 1), r"gate has shape \(7, 1\); expected \(7, 3\)"),
        (torch.zeros(7, 3, device="meta"), "gate is on meta; expected cpu, as up"),
        (torch.zeros(7, 3, dtype=torch.int32), "gate has dtype torch.int32; expected floating"),
    ],
)
def test_a_mistake_in_a_gate_is_said(gate: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=f"^activated_means: {said}"):
        activated_means(TOKENS["up"], gate, TOKENS["segments"], activation="silu")


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("means", torch.zeros(5), r"means have shape \(5,\), reduce_weight \(4, 5\); expected \(images,"),
        ("reduce_weight", torch.zeros(4, 6), r"reduce_weight has shape \(4, 6\); expected \(4, 5\)"),
        ("norm_weight", torch.zeros(5), r"norm_weight has shape \(5,\); expected \(4,\)"),
        (
            "head_weights",
            [torch.zeros(3, 4), torch.zeros(2, 5)],
            r"head_weights\[1\] has shape \(2, 5\); expected \(2, 4\)",
        ),
        (
            "head_biases",
            [torch.zeros(3, 1), torch.zeros(2)],
            r"head_biases\[0\] has shape \(3, 1\); expected \(3,\)",
        ),
        ("around", [1.0], "found 2 head_weights, 2 head_biases and 1 around"),
        ("norm_weight", torch.zeros(4, device="meta"), "norm_weight is on meta; expected cpu, as means"),
    ],
)
def test_a_mistake_in_a_router_is_said(name: str, wrong: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^router_gains: {said}"):
        router_gains(**(ROUTER | {name: wrong}))


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"x has shape .*; keep has shape .*; segments has dtype"):
        segment_means(torch.zeros(7), torch.tensor([0.0]), torch.ones(6, dtype=torch.bool))

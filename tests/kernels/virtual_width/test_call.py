from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from skinflow_kernels import virtual_width_linear

Make = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("x", torch.zeros(7), r"x has 1 axes, shape \(7,\); expected TI"),
        (
            "weight",
            torch.zeros(37, 12),
            r"x has shape \(7, 13\)|weight has shape \(37, 12\); expected \(37, 13\)",
        ),
        (
            "bases",
            torch.zeros(3, 37, 12),
            r"expected \(3, 37, 13\): \(bands, output features, input features\)",
        ),
        ("band_delta", torch.zeros(2, 4), r"band_delta has shape \(2, 4\); expected \(2, 3\)"),
        ("bias", torch.zeros(36), r"bias has shape \(36,\); expected \(37,\): \(output features\)"),
        ("input_gain", torch.zeros(3, 13), r"input_gain has shape \(3, 13\); expected \(2, 13\)"),
        ("output_gain", torch.zeros(2, 13), r"output_gain has shape \(2, 13\); expected \(2, 37\)"),
        ("segments", torch.tensor([0, 4, 6]), "adds up to 6 tokens, while the input has 7"),
        (
            "x",
            torch.zeros(7, 13, dtype=torch.bfloat16),
            "x has dtype torch.bfloat16, the weight torch.float32",
        ),
        ("bases", torch.zeros(3, 37, 13, dtype=torch.bfloat16), "bases has dtype torch.bfloat16; expected"),
        (
            "bias",
            torch.zeros(37, dtype=torch.float64),
            "bias has dtype torch.float64; expected torch.float32",
        ),
        (
            "band_delta",
            torch.zeros(2, 3).bfloat16(),
            "band_delta has dtype torch.bfloat16; expected torch.float32",
        ),
        (
            "input_gain",
            torch.zeros(2, 13, dtype=torch.int64),
            "input_gain has dtype torch.int64; expected float",
        ),
        ("bias", torch.zeros(37, device="meta"), "bias is on meta; expected cpu, where x is"),
    ],
)
def test_a_mistake_is_said(name: str, wrong: torch.Tensor, said: str, layer: Make) -> None:
    with pytest.raises(ValueError, match=said):
        virtual_width_linear(**layer([4, 3]) | {name: wrong})


def test_all_mistakes_are_said_at_once(layer: Make) -> None:
    made = layer([4, 3]) | {"bias": torch.zeros(36), "band_delta": torch.zeros(2, 3).half()}
    with pytest.raises(ValueError, match=r"^virtual_width_linear: bias has shape .*; band_delta has dtype"):
        virtual_width_linear(**made)
    made = layer([4, 3]) | {"weight": torch.zeros(37), "segments": torch.tensor([0.0])}
    with pytest.raises(ValueError, match=r"weight has 1 axes.*; segments has dtype torch.float32"):
        virtual_width_linear(**made)

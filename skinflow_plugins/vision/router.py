"""From the mean token of an image to gains: how much of each band, input channel and output channel to use.

The published module (FDConv repository, `FDLinear4Qwen`): h = relu(rms_norm(R m)), then one linear head per
kind of gate and 2 * sigmoid. Here the same function is written as 1 + tanh(z / 2), whose distance from
identity keeps its digits near zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skinflow_kernels import router_gains

GATES = ("input", "output", "band")
"""Kinds of gates: per input channel, per output channel, per frequency band."""

_IDENTITY = {"input": 1.0, "output": 1.0, "band": 0.0}
_LEAST_WIDTH = 16


class Gains(NamedTuple):
    """Gains of one projection for S images: `band_delta` (S, K) with identity at 0; the others at 1 or None.

    `input_gain` is (S, I), `output_gain` (S, O); values lie in [0, 2]. All are float32.
    """

    band_delta: Tensor
    input_gain: Tensor | None = None
    output_gain: Tensor | None = None


class Router(nn.Module):
    """Gains for one projection, or for all projections of a block, from one descriptor per image.

    A leaf module that holds its parameters itself, so that PEFT's `modules_to_save` takes it whole. The heads
    start at zero: every gain is the identity. Computes in float32 whatever its own or its input's dtype is.

    `targets` maps a prefix for parameter names to the (in_features, out_features) of a projection; the single
    projection of its own router has the prefix "". The hidden width is in_features / `reduction`, at least
    16.
    """

    def __init__(
        self,
        in_features: int,
        targets: Mapping[str, tuple[int, int]],
        bands: int,
        *,
        gates: Sequence[str] = GATES,
        reduction: int = 16,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if "band" not in gates or not set(gates) <= set(GATES):
            raise ValueError(f"gates are {list(gates)}; expected 'band' and any of 'input' and 'output'")
        if reduction < 1:
            raise ValueError(f"reduction is {reduction}; expected 1 or more")
        self.in_features = in_features
        self.targets = {name: (int(i), int(o)) for name, (i, o) in targets.items()}
        self.bands = bands
        self.gates = tuple(gate for gate in GATES if gate in gates)
        width = max(in_features // reduction, _LEAST_WIDTH)

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*shape, device=device, dtype=torch.float32))

        self.reduce_weight = parameter(width, in_features)
        self.norm_weight = parameter(width)
        for target, (inputs, outputs) in self.targets.items():
            sizes = {"input": inputs, "output": outputs, "band": bands}
            for gate in self.gates:
                head = head_name(target, gate)
                self.register_parameter(f"{head}_weight", parameter(sizes[gate], width))
                self.register_parameter(f"{head}_bias", parameter(sizes[gate]))
        if self.reduce_weight.device.type != "meta":
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew: the identity, whatever the image."""
        with torch.no_grad():
            nn.init.kaiming_normal_(self.reduce_weight, mode="fan_out", nonlinearity="relu")
            nn.init.ones_(self.norm_weight)
            for name, value in self.named_parameters():
                if name not in ("reduce_weight", "norm_weight"):
                    nn.init.zeros_(value)

    def forward(self, descriptor: Tensor) -> dict[str, Gains]:
        """Gains by target, from the mean token of each image, `descriptor` (S, I)."""
        heads = [(target, gate) for target in self.targets for gate in self.gates]
        found = router_gains(
            descriptor,
            self.reduce_weight,
            self.norm_weight,
            [getattr(self, f"{head_name(*head)}_weight") for head in heads],
            [getattr(self, f"{head_name(*head)}_bias") for head in heads],
            [_IDENTITY[gate] for _, gate in heads],
        )
        of_head = dict(zip(heads, found, strict=True))
        return {
            target: Gains(
                of_head[target, "band"], of_head.get((target, "input")), of_head.get((target, "output"))
            )
            for target in self.targets
        }

    def extra_repr(self) -> str:
        """What torch prints of the module."""
        targets = "" if list(self.targets) == [""] else f", targets={list(self.targets)}"
        return f"{self.in_features}, bands={self.bands}, gates={list(self.gates)}{targets}"


def head_name(target: str, gate: str) -> str:
    """The stem of a head's parameter names."""
    return f"{target}_{gate}" if target else gate

"""The ways to compute a virtual-width linear layer, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skinflow_kernels import triton_support
from skinflow_kernels.backends import Backend, Explanation, Where, chosen, explained
from skinflow_kernels.virtual_width import reference, torch_path
from skinflow_kernels.virtual_width.call import Call

Forward = Callable[[Call], Tensor]
Backward = Callable[[Call, Tensor, Sequence[bool]], tuple[Tensor | None, ...]]


@dataclass(frozen=True)
class VirtualWidthBackend(Backend):
    """One way to compute the layer: its output, and from that output's gradient those that are wanted."""

    forward: Forward = reference.forward
    backward: Backward = reference.backward


def _triton_forward(call: Call) -> Tensor:
    from skinflow_kernels.virtual_width import triton_path

    with triton_support.launching_on(call.x.device):
        return triton_path.forward(call)


def _triton_backward(call: Call, dy: Tensor, wants: Sequence[bool]) -> tuple[Tensor | None, ...]:
    from skinflow_kernels.virtual_width import triton_path

    with triton_support.launching_on(call.x.device):
        return triton_path.backward(call, dy, wants)


# The first that can is the one that "auto" takes. Triton is imported when it is used, and not before.
TABLE: list[VirtualWidthBackend] = [
    VirtualWidthBackend(
        "triton", triton_support.cannot, triton_support.only_by_name, _triton_forward, _triton_backward
    ),
    VirtualWidthBackend("torch", forward=torch_path.forward, backward=torch_path.backward),
    VirtualWidthBackend("reference"),
]


def backends() -> list[str]:
    """The names of all backends, in the order in which "auto" tries them."""
    return [backend.name for backend in TABLE]


def explain(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    weight_dtype: torch.dtype | None = None,
    backend: str = "auto",
) -> Explanation:
    """Which backend computes tokens of `dtype` on `device`, and why none of the others does.

    `weight_dtype` is that of the weight where autocast gives the tokens another. `str()` of the explanation
    has a line for each backend. Raises ValueError for a backend, named here or in SKINFLOW_BACKEND, that is
    unknown or cannot compute there.
    """
    where = Where(torch.device(device), dtype, weight_dtype or dtype)
    return explained(TABLE, backend, where)


def chosen_backend(name: str, where: Where) -> VirtualWidthBackend:
    """The backend that computes there; `name` and errors as for `explain`."""
    return chosen(TABLE, name, where)

"""Whether a dynamic tower computes what it should, before it is timed."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from skinflow_bench import attention
from skinflow_bench.checks import error_ratio, tolerances
from skinflow_bench.tower_rows import Towers, gradients, routers, set_heads
from skinflow_kernels.backends import VARIABLE

# Every rounding of a layer meets those of the layers behind it.
THROUGH_LAYERS = 10.0
NO_IDENTITY = 1e-3
"""How far random routers move the output at least; a tiny tower by so little, a real one by a third."""


def tolerance(dtype: torch.dtype) -> float:
    """The largest error ratio of what comes out of a tower, or of a gradient in it."""
    return THROUGH_LAYERS * tolerances()["layer", str(dtype).removeprefix("torch.")]


def check(towers: Towers, against: str) -> Iterator[str]:
    """What is wrong with the dynamic tower; nothing when it may be timed.

    With its heads at zero it is the plain one, with random ones it is not; and its output and the gradients
    of its routers are those that another backend, `against`, computes.
    """
    most = tolerance(towers.dtype)
    plain = _joined(torch.no_grad()(towers.outputs)(towers.plain))
    if towers.attention != "sdpa":
        attention.use(towers.plain, "sdpa")
        error = error_ratio(plain, _joined(torch.no_grad()(towers.outputs)(towers.plain)))
        attention.use(towers.plain, towers.attention)
        if not error <= most:
            yield f"{towers.attention} is {error:.1e} from sdpa; at most {most:.1e} expected"
    tower = copy.deepcopy(towers.dynamic)
    set_heads(tower, std=0.0)
    rounding = error_ratio(_joined(torch.no_grad()(towers.outputs)(tower)), plain)
    if not rounding <= most:
        yield f"with heads of zero it is {rounding:.1e} from the plain tower; at most {most:.1e} expected"
    found = _with_gradients(towers)
    error, least = error_ratio(found["output"], plain), max(NO_IDENTITY, 2 * rounding)
    if not error > least:
        yield f"with random routers it is {error:.1e} from the plain tower; more than {least:.1e} expected"
    with _backend(against):
        other = _with_gradients(towers)
    for name, expected in other.items():
        error = error_ratio(found[name], expected)
        if not error <= most:
            yield f"{name}: error ratio {error:.1e} to the backend {against} exceeds {most:.1e}"


def _with_gradients(towers: Towers) -> dict[str, Tensor]:
    wanted = routers(towers.dynamic)
    towers.dynamic.requires_grad_(False)
    for parameter in wanted.values():
        parameter.requires_grad_()
    torch.manual_seed(1)
    outputs = towers.outputs(towers.dynamic)
    found = gradients(outputs, list(wanted.values()), [torch.randn_like(each) for each in outputs])
    return {"output": _joined(outputs), "gradients of the routers": _joined(found)}


def _joined(tensors: Iterable[Tensor]) -> Tensor:
    # As one, because a small gradient among them may be the rest of large ones that cancelled.
    return torch.cat([each.detach().flatten() for each in tensors])


@contextmanager
def _backend(name: str) -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before

"""The ways to compute a virtual-width linear layer, in the order in which they are tried."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from torch import Tensor

from skinflow_kernels.call import Call
from skinflow_kernels.reference import reference
from skinflow_kernels.torch_path import torch_path

VARIABLE = "SKINFLOW_BACKEND"


@dataclass(frozen=True)
class Backend:
    """One way to compute a call: `supports` gives "" where it can, and otherwise the reason why not."""

    name: str
    supports: Callable[[Call], str]
    run: Callable[[Call], Tensor]


def _always(call: Call) -> str:
    return ""


# The first that can is the one that "auto" takes.
TABLE: list[Backend] = [
    Backend("torch", _always, torch_path),
    Backend("reference", _always, reference),
]


def backends() -> list[str]:
    """The names of all backends, in the order in which "auto" tries them."""
    return [backend.name for backend in TABLE]


def chosen_backend(name: str, call: Call) -> Backend:
    """The backend of that name; for "auto" the one that SKINFLOW_BACKEND names, or else the first that can.

    ValueError if there is none of that name, or if it cannot compute this call, with its reason.
    """
    where = "backend"
    if name == "auto" and os.environ.get(VARIABLE, "auto") != "auto":
        name, where = os.environ[VARIABLE], VARIABLE
    if name == "auto":
        return next(backend for backend in TABLE if not backend.supports(call))
    for backend in TABLE:
        if backend.name == name:
            if reason := backend.supports(call):
                raise ValueError(f"{where} {name!r} cannot compute this call: {reason}")
            return backend
    known = ["auto", *backends()]
    hint = "".join(f" Did you mean {close!r}?" for close in get_close_matches(name, known, n=1))
    raise ValueError(f"{where} {name!r} is unknown; there are {', '.join(known)}.{hint}")

"""Which of several ways computes an operation, and why not the others; nothing falls back in silence."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

import torch

VARIABLE = "SKINFLOW_BACKEND"


@dataclass(frozen=True)
class Where:
    """What the choice depends on: where the tokens are, their dtype, and that of the weight."""

    device: torch.device
    dtype: torch.dtype
    weight_dtype: torch.dtype


def _nothing(where: Where) -> str:
    return ""


@dataclass(frozen=True)
class Backend:
    """One way to compute: `cannot` gives the reason why it cannot, "" where it can.

    `only_by_name` gives the reason why "auto" passes over it though it could compute.
    """

    name: str
    cannot: Callable[[Where], str] = _nothing
    only_by_name: Callable[[Where], str] = _nothing


Chosen = TypeVar("Chosen", bound=Backend)


@dataclass(frozen=True)
class Explanation:
    """The backend that computes, and for each of the others why it does not."""

    backend: str
    because: str
    reasons: dict[str, str]

    def __str__(self) -> str:
        width = max(map(len, (self.backend, *self.reasons)))
        lines = [f"{self.backend:{width}}  runs: {self.because}"]
        return "\n".join(lines + [f"{name:{width}}  {reason}" for name, reason in self.reasons.items()])


def chosen(table: Sequence[Chosen], name: str, where: Where) -> Chosen:
    """The backend of that name; for "auto" the one that SKINFLOW_BACKEND names, or else the first that can.

    ValueError if there is none of that name, or if it cannot compute here, with its reason.
    """
    name, asked = _asked(name)
    if name == "auto":
        return next(backend for backend in table if not _reason(backend, where))
    for backend in table:
        if backend.name == name:
            if reason := backend.cannot(where):
                raise ValueError(f"{asked} {name!r} cannot compute this call: {reason}")
            return backend
    names = ["auto", *(backend.name for backend in table)]
    hint = "".join(f" Did you mean {close!r}?" for close in get_close_matches(name, names, n=1))
    raise ValueError(f"{asked} {name!r} is unknown; there are {', '.join(names)}.{hint}")


def explained(table: Sequence[Backend], name: str, where: Where) -> Explanation:
    """What `chosen` chooses, and why none of the others; errors are the same."""
    found = chosen(table, name, where).name
    name, asked = _asked(name)
    because = "the first that can" if name == "auto" else f"{asked} names it"
    otherwise = f"comes after {found!r}" if name == "auto" else f"{asked} names {found!r}"
    reasons = {
        backend.name: (_reason(backend, where) if name == "auto" else backend.cannot(where)) or otherwise
        for backend in table
        if backend.name != found
    }
    return Explanation(found, because, reasons)


def _asked(name: str) -> tuple[str, str]:
    """The name that counts, and who gave it."""
    variable = os.environ.get(VARIABLE, "auto")
    return (variable, VARIABLE) if name == "auto" and variable != "auto" else (name, "backend")


def _reason(backend: Backend, where: Where) -> str:
    return backend.cannot(where) or backend.only_by_name(where)

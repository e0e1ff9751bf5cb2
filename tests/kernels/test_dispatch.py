from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from skinflow_kernels import backends, virtual_width_linear
from skinflow_kernels.dispatch import TABLE, VARIABLE, Backend

Make = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend ahead of all others that takes even numbers of tokens only, and gives sevens."""
    backend = Backend(
        "picky",
        lambda call: f"{len(call.x)} tokens are odd" if len(call.x) % 2 else "",
        lambda call: torch.full((len(call.x), len(call.weight)), 7.0),
    )
    monkeypatch.setattr("skinflow_kernels.dispatch.TABLE", [backend, *TABLE])


def test_the_names() -> None:
    assert backends()[-2:] == ["torch", "reference"]


@pytest.mark.usefixtures("picky")
def test_auto_takes_the_first_that_can(layer: Make) -> None:
    assert backends()[0] == "picky"
    assert (virtual_width_linear(**layer([4])) == 7).all()
    made = layer([3])
    assert torch.equal(virtual_width_linear(**made), virtual_width_linear(**made, backend="torch"))


@pytest.mark.usefixtures("picky")
def test_a_named_backend_that_cannot_says_why(layer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="backend 'picky' cannot compute this call: 3 tokens are odd"):
        virtual_width_linear(**layer([3]), backend="picky")
    monkeypatch.setenv(VARIABLE, "picky")
    with pytest.raises(ValueError, match=f"{VARIABLE} 'picky' cannot compute this call: 3 tokens are odd"):
        virtual_width_linear(**layer([3]))


@pytest.mark.usefixtures("picky")
def test_the_variable_overrides_auto_and_nothing_else(layer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "reference")
    made = layer([4])
    assert torch.equal(virtual_width_linear(**made), virtual_width_linear(**made, backend="reference"))
    assert (virtual_width_linear(**made, backend="picky") == 7).all()


def test_an_unknown_name_is_named_with_the_nearest_known(
    layer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"backend 'torhc' is unknown.*Did you mean 'torch'"):
        virtual_width_linear(**layer([4]), backend="torhc")
    monkeypatch.setenv(VARIABLE, "nothing")
    with pytest.raises(ValueError, match=rf"{VARIABLE} 'nothing' is unknown; there are auto, .*torch"):
        virtual_width_linear(**layer([4]))

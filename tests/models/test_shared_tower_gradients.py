"""The gradient of every parameter is the same when the tower shares images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from skinflow_plugins.models import FAMILIES, family_named, load
from skinflow_plugins.models.distinct_images import unshare_images

NAMES = [family.name for family in FAMILIES]

MIXED = [[0, 1], [2], [1, 0], [2], [0]]
ALIKE = [[3]] * 4


@pytest.mark.parametrize(
    ("name", "kind", "reentrant"),
    [
        *((name, "plain", None) for name in NAMES),
        *((name, "dynamic", False) for name in NAMES),
        ("qwen2_5_vl", "dynamic", True),
        ("idefics3", "dynamic", True),
    ],
)
def test_gradients_are_the_same(
    name: str,
    kind: str,
    reentrant: bool | None,
    opened: Callable[..., Any],
    asked: Callable[..., Any],
    helpers: SimpleNamespace,
) -> None:
    """Of all parameters, over two forwards before one backward; with gradient checkpointing unless None."""
    model = opened(name, kind).train()
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()

    def loss() -> Tensor:
        logits = [model(**asked(name, rows)).logits for rows in (MIXED, ALIKE)]
        return logits[0].square().mean() + logits[1].square().mean().sqrt()

    expected = helpers.gradients(model, loss)
    helpers.share(model, name)
    found, rows = helpers.computed(model, name, lambda: helpers.gradients(model, loss))
    assert helpers.tower(model, name).skinflow_images == (11, 4)
    assert rows == 4 * (64 if name.startswith("qwen") else 1)  # recomputing blocks looks for no images
    assert any(family_named(name).vision_tower in key and each.any() for key, each in found.items())
    helpers.assert_same_gradients(found, expected, 1e-5 if kind == "plain" else 1e-4)
    again = helpers.gradients(model, loss)
    assert all(torch.equal(again[key], each) for key, each in found.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_tower_with_trained_routers_and_without(
    name: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    model, batch = opened(name, "dynamic").train(), asked(name, MIXED)
    path = f"{family_named(name).vision_tower}."
    helpers.tower(model, name).requires_grad_(False)
    for routers in (False, True):
        for key, each in model.named_parameters():
            if "dve_router" in key:
                each.requires_grad_(routers)
        expected = helpers.gradients(model, lambda: model(**batch).logits.square().mean())
        helpers.share(model, name)
        found = helpers.gradients(model, lambda: model(**batch).logits.square().mean())
        assert helpers.tower(model, name).skinflow_images == (7, 3)
        helpers.assert_same_gradients(found, expected)
        trained = {key for key in found if path in key}
        assert all("dve_router" in key for key in trained)
        assert bool(trained) == routers
        unshare_images(model)


@pytest.mark.parametrize("name", ["llava", "idefics3"])
def test_only_rounding_differs(
    name: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """In fp64 nothing is left of it; packed towers and the routers compute in fp32 in any model."""
    model, batch = opened(name).double(), asked(name, MIXED)
    expected = helpers.gradients(model, lambda: model(**batch).logits.square().mean())
    helpers.share(model, name)
    found = helpers.gradients(model, lambda: model(**batch).logits.square().mean())
    assert helpers.tower(model, name).skinflow_images == (7, 3)
    helpers.assert_same_gradients(found, expected, 1e-12)


def test_half_precision(
    opened: Callable[..., Any],
    stirred: Callable[..., Path],
    asked: Callable[..., Any],
    helpers: SimpleNamespace,
) -> None:
    """In bf16 as near to fp32 as without sharing; the sum over a group is rounded once more, not G times."""
    batch = asked("qwen2_5_vl", [[0]] * 8)

    def of(model: Any, *, shared: bool, autocast: bool = False) -> dict[str, Tensor]:
        if shared:
            helpers.share(model, "qwen2_5_vl")

        def loss() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits: Tensor = model(**batch).logits
            return logits.float().square().mean()

        found = helpers.gradients(model, loss)
        assert not shared or model.model.visual.skinflow_images == (8, 1)
        return {key: each.double() for key, each in found.items() if "visual" in key}

    full, half = opened("qwen2_5_vl", "dynamic"), load(stirred("qwen2_5_vl"), dtype=torch.bfloat16)
    exact = of(full, shared=False)
    for model, autocast in ((full, True), (half, False)):
        errors = []
        for shared in (False, True):
            found = of(model, shared=shared, autocast=autocast)
            total = sum((found[key] - each).square().sum() for key, each in exact.items())
            errors.append(float((total / sum(each.square().sum() for each in exact.values())).sqrt()))
        assert 0 < errors[1] < 0.1
        assert errors[1] < 1.5 * errors[0]

"""Which models may share images, where their tower is found, and that nothing is left when it is undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from skinflow_plugins.models import family_named, load
from skinflow_plugins.models.distinct_images import share_images, unshare_images
from skinflow_plugins.models.shared_tower import SharedImages, shared_class

MIXED = [[0, 1], [2], [1, 0], [2], [0]]
ALIKE = [[3]] * 4
LORA = ["q_proj", "v_proj", "qkv"]


@pytest.mark.parametrize("name", ["qwen3_vl", "llava"])
def test_undone_without_a_trace(
    name: str, opened: Callable[..., Any], helpers: SimpleNamespace, tmp_path: Path
) -> None:
    model = opened(name, "dynamic")
    tower = helpers.tower(model, name)
    kind, attributes, keys = type(tower), {*vars(tower)}, [*model.state_dict()]
    helpers.share(model, name)
    once = type(tower)
    tower.skinflow_images = (5, 3)
    helpers.share(model, name)
    assert type(tower) is once
    assert tower.skinflow_images == (5, 3)
    assert (once.__name__, once.__module__, str(once)) == (kind.__name__, kind.__module__, str(kind))
    assert issubclass(once, (kind, SharedImages))
    assert [*model.state_dict()] == keys
    model.save_pretrained(tmp_path)
    assert type(load(tmp_path)) is type(model)
    unshare_images(model)
    assert type(tower) is kind
    assert {*vars(tower)} == attributes
    unshare_images(model)


def test_the_class_goes_by_the_names_of_the_towers_own() -> None:
    """transformers keeps what it may record of a tower under the text of its class."""

    class Tower(nn.Module):
        """Not at the top of a module."""

    made = shared_class(Tower, "rows")
    assert made is shared_class(Tower, "rows")
    assert str(made) == str(Tower)
    assert made.__doc__ == Tower.__doc__


# ------------------------------------------------------------------------------------------------------------
# Where it must not


def family(name: str, **seam: Any) -> Any:
    given = family_named(name)
    assert given.seam is not None
    return replace(given, name="other", seam=replace(given.seam, **seam))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(family_named("llava"), seam=None), "the family llava has no seam"),
        (family("llava", images="a.b:Block"), "holds images in a way of its own (a.b:Block)"),
        (replace(family_named("llava"), vision_tower="model.eyes"), "has no model.eyes, the vision tower of"),
        (
            family("llava", images="packed"),
            "CLIPVisionModel takes (pixel_values, interpolate_pos_encoding); expected grid_thw after the",
        ),
        (replace(family_named("llava"), vision_tower="model.language_model"), "expected pixel_values first"),
    ],
    ids=["no seam", "unknown images", "no tower", "no grid", "no pixels"],
)
def test_families_that_it_is_not_for(other: Any, reason: str, opened: Callable[..., Any]) -> None:
    model = opened("llava")
    assert reason in share_images(model, other)
    assert not any(isinstance(module, SharedImages) for module in model.modules())


def add(name: str, part: nn.Module) -> Callable[[Any], None]:
    return lambda visual: visual.add_module(name, part)


def attention_dropout(visual: Any) -> None:
    visual.encoder.layers[1].self_attn.dropout = 0.1


class DropPath(nn.Module):
    """Stochastic depth as timm names it."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_prob = 0.2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (add("dropout", nn.Dropout(0.1)), "dropout in the vision tower drops at random (p 0.1)"),
        (attention_dropout, "encoder.layers.1.self_attn in the vision tower drops at random (dropout 0.1)"),
        (
            lambda visual: setattr(visual, "layerdrop", 0.3),
            "the vision tower drops at random (layerdrop 0.3)",
        ),
        (add("path", DropPath()), "path in the vision tower drops at random (drop_prob 0.2)"),
        (add("norm", nn.BatchNorm2d(3)), "norm in the vision tower normalises over the images of a batch"),
        (add("dropout", nn.Dropout(0.0)), ""),
        (lambda visual: setattr(visual, "drops_padding", True), ""),
    ],
    ids=["dropout", "attention", "tower", "depth", "batch norm", "dropout of nothing", "a flag"],
)
def test_towers_that_treat_copies_differently(
    change: Callable[[Any], None], reason: str, opened: Callable[..., Any]
) -> None:
    """Also in evaluation mode: `train()` is called later."""
    model = opened("llava")
    change(model.model.vision_tower)
    for training in (True, False):
        found = share_images(model.train(training), family_named("llava"))
        assert found.startswith(reason) if reason else not found
        assert isinstance(model.model.vision_tower, SharedImages) == (not reason)


def test_lora_dropout_is_told_and_what_to_do(opened: Callable[..., Any]) -> None:
    from peft import LoraConfig, get_peft_model

    tuned = get_peft_model(opened("llava"), LoraConfig(lora_dropout=0.05, target_modules=LORA))
    reason = share_images(tuned, family_named("llava"))
    assert "lora_dropout.default in the vision tower drops at random (p 0.05)" in reason
    assert reason.endswith("; with lora_dropout 0 they are the same")


# ------------------------------------------------------------------------------------------------------------
# Where the tower is found


@pytest.mark.parametrize(
    ("name", "first"),
    [("qwen2_5_vl", "peft"), ("llava", "peft"), ("qwen3_vl", "share"), ("idefics3", "share")],
)
def test_with_lora_in_the_tower(
    name: str, first: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=2, lora_dropout=0.0, init_lora_weights=False, target_modules=LORA, modules_to_save=["dve_router"]
    )
    model, batch = opened(name, "dynamic"), asked(name, MIXED)
    if first == "share":
        helpers.share(model, name)
    torch.manual_seed(0)
    tuned = get_peft_model(model, lora)
    helpers.share(tuned, name)
    found = helpers.gradients(tuned, lambda: tuned(**batch).logits.square().mean())
    assert helpers.tower(model, name).skinflow_images == (7, 3)
    with torch.no_grad(), tuned.disable_adapter():
        reference = tuned(**batch).logits
    unshare_images(tuned)
    expected = helpers.gradients(tuned, lambda: tuned(**batch).logits.square().mean())
    assert any(f"{family_named(name).vision_tower}." in key and "lora_A" in key for key in expected)
    helpers.assert_same_gradients(found, expected)
    with torch.no_grad(), tuned.disable_adapter():
        helpers.assert_close(reference, tuned(**batch).logits)


@pytest.mark.parametrize(("name", "first"), [("qwen3_vl", "share"), ("idefics3", "peft")])
def test_with_a_tower_that_peft_trains_a_copy_of(
    name: str, first: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    from peft import LoraConfig, get_peft_model

    path = family_named(name).vision_tower
    model, batch = opened(name), asked(name, MIXED)
    if first == "share":
        helpers.share(model, name)
    lora = LoraConfig(r=2, target_modules=r".*(language|text)_model.*q_proj", modules_to_save=[path])
    tuned = get_peft_model(model, lora)
    helpers.share(tuned, name)
    wrapper = helpers.tower(model, name)
    assert isinstance(wrapper.original_module, SharedImages)
    assert isinstance(wrapper.modules_to_save["default"], SharedImages)
    found = helpers.gradients(tuned, lambda: tuned(**batch).logits.square().mean())
    assert wrapper.modules_to_save["default"].skinflow_images == (7, 3)
    with torch.no_grad(), tuned.disable_adapter():
        tuned(**batch)
    assert wrapper.original_module.skinflow_images == (7, 3)
    unshare_images(tuned)
    expected = helpers.gradients(tuned, lambda: tuned(**batch).logits.square().mean())
    helpers.assert_same_gradients(found, expected)


def test_with_a_checkpoint_around_the_tower(
    opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """It computes the tower again in the backward pass, with the same images."""
    model, batch = opened("qwen2_5_vl"), asked("qwen2_5_vl", MIXED)
    expected = helpers.gradients(model, lambda: model(**batch).logits.square().mean())
    inner = model.model.visual
    model.model.visual = checkpoint_wrapper(inner)
    helpers.share(model, "qwen2_5_vl")
    assert not isinstance(model.model.visual, SharedImages)
    found = helpers.gradients(model, lambda: model(**batch).logits.square().mean())
    assert inner.skinflow_images == (14, 6)
    plain = {key.replace("._checkpoint_wrapped_module", ""): each for key, each in found.items()}
    helpers.assert_same_gradients(plain, expected)


@pytest.mark.parametrize("first", ["share", "hook"])
def test_with_a_forward_that_was_replaced(
    first: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """accelerate keeps the old `forward` of an instance, with its class as it was then."""
    from accelerate.hooks import ModelHook, add_hook_to_module

    model, batch = opened("qwen2_5_vl"), asked("qwen2_5_vl", ALIKE)
    expected = model(**batch).logits
    for step in (first, "share", "hook"):
        if step == "share":
            helpers.share(model, "qwen2_5_vl")
        elif "forward" not in vars(model.model.visual):
            add_hook_to_module(model.model.visual, ModelHook())
    helpers.assert_close(model(**batch).logits, expected)
    assert model.model.visual.skinflow_images == (4, 1)


def test_torch_compile(
    opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """A compiled tower shares images; within compiled code none are shared, as values are unknown there."""
    model, pixels = opened("llava"), asked("llava", ALIKE)["pixel_values"]
    visual = model.model.vision_tower
    with torch.no_grad():
        expected = visual(pixels).last_hidden_state
        helpers.share(model, "llava")
        around = torch.compile(visual, backend="eager", fullgraph=True)
        helpers.assert_close(around(pixels).last_hidden_state, expected)
        assert visual.skinflow_images == (0, 0)
        model.model.vision_tower = around
        helpers.share(model, "llava")  # found within
        visual.compile(backend="eager")
        helpers.assert_close(visual(pixels).last_hidden_state, expected)
        assert visual.skinflow_images == (4, 1)

"""Calls in which no images may be shared, or of whose images nothing is known; wrong ones fail as ever."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from skinflow_plugins.errors import InputError
from skinflow_plugins.models.distinct_images import unshare_images

ALIKE = [[3]] * 4


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava"])
def test_calls_that_are_left_alone(
    name: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """Gradients of pixels, maps of attention, and arguments that might hold something for each row."""
    model, batch = opened(name), asked(name, ALIKE)
    model.set_attn_implementation("eager")
    helpers.share(model, name)
    visual, pixels = helpers.tower(model, name), batch["pixel_values"]
    others = {key: batch[f"image_{key}"] for key in ("grid_thw",) if f"image_{key}" in batch}
    leaf = pixels.clone().requires_grad_()
    visual(leaf, **others).last_hidden_state.square().sum().backward()
    parts = leaf.grad.view(4, -1)
    assert parts[0].any()
    torch.testing.assert_close(parts[0], parts[3], rtol=1e-3, atol=1e-4)
    assert visual(pixels, **others, output_attentions=True).attentions is not None
    visual(pixels, **others, of_each=torch.arange(4))
    visual(pixels, **others, of_each={"row": [torch.arange(4)]})
    assert visual.skinflow_images == (16, 16)
    visual(pixels, **others, of_all=torch.tensor(4), output_attentions=None)  # a count says nothing of rows
    visual(pixels, **others, text_position_ids=torch.zeros(4, 9))  # swift's template of Qwen3-VL adds it
    assert visual.skinflow_images == (24, 18)
    model.config.vision_config.output_attentions = visual.config.output_attentions = True
    visual(pixels, **others)
    assert visual.skinflow_images == (28, 22)


def test_distinct_images_are_not_copied(opened: Callable[..., Any], helpers: SimpleNamespace) -> None:
    """Nor is a grid touched that names an image without patches."""
    model, seen = opened("qwen2_5_vl"), []
    helpers.share(model, "qwen2_5_vl")
    visual = model.model.visual
    visual.register_forward_pre_hook(lambda module, arguments: seen.extend(arguments))
    pixels = torch.arange(32.0)[:, None].expand(32, visual.patch_embed.proj.weight[0].numel())
    grid = torch.tensor([[1, 4, 4], [1, 4, 4]])
    empty = torch.tensor([[1, 4, 4], [1, 4, 4], [0, 4, 4]])
    visual(pixels, grid)
    assert visual.skinflow_images == (2, 2)
    visual(pixels, empty)
    assert all(given is one for given, one in zip(seen, (pixels, grid, pixels, empty), strict=True))


def test_dropout_that_comes_later_is_respected(
    opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """While it is active every image is computed; the same seed gives the same numbers as ever."""
    from peft import LoraConfig, get_peft_model

    model, batch = opened("llava"), asked("llava", ALIKE)
    helpers.share(model, "llava")
    lora = LoraConfig(lora_dropout=0.5, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = get_peft_model(model, lora).train()
    torch.manual_seed(0)
    found = tuned(**batch).logits
    assert model.model.vision_tower.skinflow_images == (4, 4)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    tuned.eval()(**batch)
    assert model.model.vision_tower.skinflow_images == (8, 5)
    unshare_images(tuned)
    torch.manual_seed(0)
    assert torch.equal(tuned.train()(**batch).logits, found)


def test_pixels_without_numbers(opened: Callable[..., Any], helpers: SimpleNamespace) -> None:
    """As tools give them that only ask for shapes."""
    model = opened("llava")
    helpers.share(model, "llava")
    visual, pixels = model.model.vision_tower, torch.ones(4, 3, 56, 56)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        assert visual(fake.from_tensor(pixels)).last_hidden_state.shape == (4, 17, 64)
    assert visual.to("meta")(pixels.to("meta")).last_hidden_state.shape == (4, 17, 64)
    assert visual.skinflow_images == (0, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced_code_shares_none(opened: Callable[..., Any], helpers: SimpleNamespace) -> None:
    """What were copies in the example need not be copies later."""
    model = opened("llava")
    helpers.share(model, "llava")
    visual, pixels = model.model.vision_tower.requires_grad_(False), torch.ones(2, 3, 56, 56)
    others = pixels * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    run = torch.jit.trace(lambda given: visual(given).last_hidden_state, (pixels,), check_trace=False)
    traced: Any = run
    assert visual.skinflow_images == (0, 0)
    helpers.assert_close(traced(others), visual(others).last_hidden_state)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "idefics3"])
def test_a_wrong_call_fails_as_ever(
    name: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    model, batch = opened(name), asked(name, ALIKE)
    visual, pixels, grid = helpers.tower(model, name), batch["pixel_values"], batch.get("image_grid_thw")
    images, mask = pixels[:, 0], torch.ones(3, 8, 8, dtype=torch.bool)
    calls: dict[str, list[tuple[type[Exception], Callable[[], Any]]]] = {
        "qwen2_5_vl": [
            (TypeError, lambda: visual(pixels)),
            (TypeError, lambda: visual(grid_thw=grid)),
            (TypeError, lambda: visual(pixels, grid, grid)),
            (TypeError, lambda: visual(pixels, grid, hidden_states=pixels)),
            (IndexError, lambda: visual(pixels[:-4], grid)),
            (AttributeError, lambda: visual(pixels, None)),
        ],
        "idefics3": [
            (IndexError, lambda: visual(images[0])),
            (RuntimeError, lambda: visual(images[:0])),
            (RuntimeError, lambda: visual(images[..., :0])),
            (IndexError, lambda: visual(torch.tensor(0.5))),
            (IndexError, lambda: visual(images, patch_attention_mask=mask)),
            (IndexError, lambda: visual(images, patch_attention_mask=torch.tensor(True))),
            (TypeError, lambda: visual(images, patch_attention_mask=mask.tolist())),
        ],
    }
    messages = []
    for error, call in calls[name]:
        with pytest.raises(error) as caught:
            call()
        messages.append(str(caught.value))
    helpers.share(model, name)
    for (error, call), message in zip(calls[name], messages, strict=True):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda output: {"features": output.last_hidden_state[:0]}, r"gave a tensor \(0, 17, 64\)"),
        (lambda output: [output.last_hidden_state.mean()], r"gave a tensor \(\)"),
        (lambda output: (output.pooler_output, {1}), "gave set"),
    ],
)
def test_an_output_of_unknown_shape_is_an_error(
    give: Callable[[Any], Any],
    message: str,
    opened: Callable[..., Any],
    asked: Callable[..., Any],
    helpers: SimpleNamespace,
) -> None:
    model, batch = opened("llava"), asked("llava", ALIKE)
    helpers.share(model, "llava")
    visual = model.model.vision_tower
    visual.register_forward_hook(lambda module, arguments, output: give(output))
    with pytest.raises(InputError, match=message) as caught:
        visual(batch["pixel_values"])
    assert "speed.distinct_images: CLIPVisionModel" in str(caught.value)
    assert "is unknown (distinct images: 1, rows: 1)" in str(caught.value)
    assert "set it to false for this model" in str(caught.value)

"""A tower that shares images gives for each of them what it would have given without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoProcessor

from skinflow_plugins.models import FAMILIES
from skinflow_plugins.models.distinct_images import unshare_images

FAMILY = pytest.mark.parametrize("name", [family.name for family in FAMILIES])

MIXED = [[0, 1], [2], [1, 0], [2], [0]]  # as if groups were shuffled; rows of one and of two images
ALIKE = [[3]] * 4
DISTINCT = [[0], [1], [2]]
ONE = [[0]]


@FAMILY
@pytest.mark.parametrize("kind", ["plain", "dynamic"])
def test_forwards_are_the_same(
    name: str, kind: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """To the bit where all images differ, because then nothing is taken out or put back."""
    model = opened(name, kind)
    for rows in (MIXED, ALIKE, DISTINCT, ONE):
        batch = asked(name, rows)

        def run(batch: Any = batch) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                return helpers.image_embeddings(model, batch), model(**batch).logits

        expected, all_rows = helpers.computed(model, name, run)
        helpers.share(model, name)
        found, some_rows = helpers.computed(model, name, run)
        if rows in (DISTINCT, ONE):
            assert all(map(torch.equal, found, expected))
        helpers.assert_close(found, expected)
        seen, distinct = sum(map(len, rows)), len({each for row in rows for each in row})
        assert helpers.tower(model, name).skinflow_images == (2 * seen, 2 * distinct)
        assert some_rows * seen == all_rows * distinct
        unshare_images(model)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_images_of_several_sizes_and_videos(
    name: str, opened: Callable[..., Any], bases: Mapping[str, Path], helpers: SimpleNamespace
) -> None:
    """As swift calls the tower, with images and videos in one tensor; every output, under every name."""
    model, processor = opened(name, "dynamic"), AutoProcessor.from_pretrained(bases[name])
    squares = [helpers.square(0, 56), helpers.square(1, 112), helpers.square(0, 56), helpers.square(2, 84)]
    images = processor.image_processor(images=[*squares, squares[1]], return_tensors="pt")
    frames = torch.stack([torch.tensor(list(helpers.square(n).tobytes())).view(56, 56, 3) for n in range(6)])
    first, second = frames[:4].permute(0, 3, 1, 2).byte(), frames[2:].permute(0, 3, 1, 2).byte()
    videos = processor.video_processor(
        videos=[first, second, first], do_sample_frames=False, return_tensors="pt"
    )
    pixels = torch.cat([images["pixel_values"], videos["pixel_values_videos"]])
    grid = torch.cat([images["image_grid_thw"], videos["video_grid_thw"]])
    assert grid[:, 0].tolist() == [1] * 5 + [2] * 3
    visual = helpers.tower(model, name)

    def outputs() -> list[Any]:
        with torch.no_grad():
            calls = [
                visual(pixels, grid_thw=grid, output_hidden_states=True),
                visual(pixels, grid),
                visual(hidden_states=pixels, grid_thw=grid, return_dict=False),
            ]
        assert isinstance(calls[-1], tuple)
        assert name != "qwen3_vl" or calls[0].deepstack_features
        return [tensor for call in calls for tensor in flat(call)]

    expected = outputs()
    helpers.share(model, name)
    found = outputs()
    assert visual.skinflow_images == (3 * 8, 3 * 5)
    assert len(found) == 3 * len(flat(visual(pixels, grid))) + 4  # the hidden states of three blocks
    for ours, theirs in zip(found, expected, strict=True):
        helpers.assert_close(ours, theirs)


def flat(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output
    return [tensor for part in parts for tensor in flat(part)]


@pytest.mark.parametrize("name", ["llava", "gemma3", "internvl", "idefics3"])
def test_every_hidden_state_of_rows(
    name: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    model, pixels = (
        opened(name, "dynamic"),
        asked(name, [[0]] * 3 + [[1]] * 3)["pixel_values"].view(6, 3, 56, 56),
    )
    visual = helpers.tower(model, name)
    expected = visual(pixels, output_hidden_states=True)
    helpers.share(model, name)
    found = visual(pixel_values=pixels, output_hidden_states=True)
    assert visual.skinflow_images == (6, 2)
    assert len(found.hidden_states) == 4
    assert type(found) is type(expected)
    assert found.keys() == expected.keys()
    for ours, theirs in zip(flat(found), flat(expected), strict=True):
        helpers.assert_close(ours, theirs)


def test_masks_tell_images_apart(opened: Callable[..., Any], helpers: SimpleNamespace) -> None:
    model = opened("idefics3", "dynamic")
    visual = model.model.vision_model
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0)).repeat(5, 1, 1, 1)
    mask = torch.ones(5, 8, 8, dtype=torch.bool)
    mask[1, 4:] = mask[3, 4:] = False
    with torch.no_grad():
        expected = visual(pixels, patch_attention_mask=mask).last_hidden_state
        helpers.share(model, "idefics3")
        found = visual(pixels, patch_attention_mask=mask).last_hidden_state
        assert visual.skinflow_images == (5, 2)
        visual(pixels, patch_attention_mask=None)
        assert visual.skinflow_images == (10, 3)
    helpers.assert_close(found, expected)
    assert not torch.allclose(found[0, :32], found[1, :32], atol=1e-3)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "llava"])
def test_one_changed_number_makes_another_image(
    name: str, opened: Callable[..., Any], asked: Callable[..., Any], helpers: SimpleNamespace
) -> None:
    """Also where the sample does not look: at the very first and the very last one."""
    model, batch = opened(name), asked(name, ALIKE)
    helpers.share(model, name)
    images = batch["pixel_values"].view(4, -1)
    images[1, 0] += 1e-6
    images[3, -1] += 1e-6
    assert len({tuple(each.tolist()) for each in images}) == 3
    with torch.no_grad():
        found = model(**batch).logits
        assert helpers.tower(model, name).skinflow_images == (4, 3)
        unshare_images(model)
        helpers.assert_close(found, model(**batch).logits)


def test_views_and_strides(opened: Callable[..., Any], helpers: SimpleNamespace) -> None:
    model = opened("llava")
    visual = model.model.vision_tower
    image = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    given = [
        image[:1].expand(4, -1, -1, -1),
        image[[0, 0, 1, 0]].to(memory_format=torch.channels_last),
        image.transpose(2, 3).repeat(2, 1, 1, 1).transpose(2, 3),
        image.repeat(2, 1, 1, 2)[..., ::2],
    ]
    assert not any(pixels.is_contiguous() for pixels in given)
    with torch.no_grad():
        expected = [visual(pixels).last_hidden_state for pixels in given]
        helpers.share(model, "llava")
        helpers.assert_close([visual(pixels).last_hidden_state for pixels in given], expected)
    assert visual.skinflow_images == (16, 1 + 2 + 2 + 2)


class Parts(NamedTuple):
    """As some remote code has its outputs."""

    state: Tensor
    pooled: Tensor | None
    scores: list[Any]


def test_outputs_of_every_kind(opened: Callable[..., Any], helpers: SimpleNamespace) -> None:
    model = opened("llava")
    visual, pixels = model.model.vision_tower, torch.ones(4, 3, 56, 56)
    visual.register_forward_hook(
        lambda module, arguments, output: Parts(output[0], None, [{"same": output[0]}, 1, "word", True])
    )
    expected = visual(pixels)
    helpers.share(model, "llava")
    found = visual(pixels)
    assert isinstance(found, Parts)
    helpers.assert_close(found.state, expected.state)
    assert found.pooled is None
    assert found.scores == [{"same": found.state}, 1, "word", True]
    assert found.scores[0]["same"] is found.state  # as it was before, so it is not put back twice

"""Log-probabilities of vLLM and of transformers, from one checkpoint, over several images at once."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from skinflow_plugins.models import load
from skinflow_plugins.vision import FDProjection

pytestmark = pytest.mark.vllm

CLOSE = 1e-4
"""In nats and float32. What is found is a few 1e-6."""


def test_log_probabilities_agree(engine: Any) -> None:
    """Three requests in one step, one of them about two images."""
    model, answers = load(engine.folder), engine.first_answers
    assert engine.difference(model, answers) < CLOSE
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "dve_router" in key and not key.endswith(("reduce_weight", "norm_weight")):
                value.zero_()
    assert engine.difference(model, answers) > 1e-2  # the routers matter


def test_what_is_dynamic(engine: Any) -> None:
    """The same blocks and projections as in the trainer's model, one for one."""
    from skinflow_plugins.engine.mlp import EngineProjection

    ours = [module for module in load(engine.folder).modules() if isinstance(module, FDProjection)]
    found = [module for module in engine.model.modules() if isinstance(module, EngineProjection)]
    assert [tuple(each.weight.shape) for each in found] == [tuple(each.weight.shape) for each in ours]
    for theirs, each in zip(found, ours, strict=True):
        torch.testing.assert_close(theirs.bases(), each.bases(), rtol=0, atol=0)


def test_blocks_with_windows_stay_as_vllm_has_them(engines: Callable[..., Any]) -> None:
    from skinflow_plugins.engine.mlp import EngineMLP

    blocks = engines("qwen2_5_vl", masked=True).model.visual.blocks
    assert [isinstance(block.mlp, EngineMLP) for block in blocks] == [False, False, True]
    assert [hasattr(block.mlp, "gate_up_proj") for block in blocks] == [True, True, False]


def test_requests_are_packed(packed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the comparison above would show nothing about telling images apart."""
    from skinflow_plugins.engine import model

    seen, segments_of = [], model.segments_of
    monkeypatch.setattr(
        model, "segments_of", lambda *arguments: seen.append(segments_of(*arguments)) or seen[-1]
    )
    packed.answers()
    grids = [grid for request in ([0], [1, 2], [3]) for grid in packed.inputs(request)["image_grid_thw"]]
    lengths = torch.tensor([int(grid.prod()) for grid in grids])
    assert len(set(lengths.tolist())) == 3
    assert [each.tolist() for each in seen] == [[0, *lengths.cumsum(0).tolist()]]


def test_the_pack_as_one_image_disagrees(packed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: the comparison sees when images are mixed up."""
    from skinflow_plugins.engine import model

    segments_of = model.segments_of
    monkeypatch.setattr(model, "segments_of", lambda *arguments: segments_of(*arguments)[[0, -1]])
    assert packed.difference() > 100 * CLOSE


def test_prompts_are_those_of_the_processor(engine: Any, helpers: SimpleNamespace) -> None:
    """Token for token, with as many placeholders as the language model is shown image tokens."""
    config = load(engine.folder).config
    image = config.image_token_id
    for request, answer in zip(helpers.requests, engine.first_answers, strict=True):
        batch = engine.inputs(request)
        ids = batch["input_ids"][0].tolist()
        assert list(answer.prompt_token_ids) == ids
        expected = 16 * len(request)
        if "image_grid_thw" in batch:
            merge = config.vision_config.spatial_merge_size
            expected = int(batch["image_grid_thw"].prod(-1).sum()) // merge**2
        assert ids.count(image) == expected


def test_images_are_known_during_the_forward_only(packed: Any) -> None:
    """A tower that is called in another way, as CUDA graphs do, fails instead of taking older images."""
    from skinflow_plugins.engine.mlp import EngineMLP

    mlp = next(module for module in packed.model.modules() if isinstance(module, EngineMLP))
    tokens = torch.zeros(16, 1, 64)
    with pytest.raises(RuntimeError, match=r"not told which tokens .*leave cudagraph_mm_encoder off"):
        mlp(tokens)
    with pytest.raises(Exception, match=r"."):
        packed.model.visual(torch.zeros(3, 3), grid_thw=[[1, 4, 4]])
    with pytest.raises(RuntimeError, match="not told which tokens"):
        mlp(tokens)


def test_padding_of_idefics3_plays_no_part(
    engines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that fills the upper half, beside a whole one; vLLM's processor never makes such."""
    engine = engines("idefics3", router="block", projections=["up"], layers=[0, 2])
    visual = engine.model.model.vision_model
    ours = load(engine.folder).model.vision_model
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    mask[1, 4:] = False
    # vLLM's Idefics 3 leaves the mask away, though its blocks know one.
    monkeypatch.setattr(visual, "apply_encoder_attention_mask", True)
    with torch.no_grad():
        expected = ours(pixel_values=pixels, patch_attention_mask=mask).last_hidden_state
        found = visual(pixel_values=pixels, patch_attention_mask=mask)
    real = mask.flatten(1)
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-4)


def test_the_tower_of_gemma3(engines: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM on a CPU cannot run its language model as it is meant, but the tower is ours to get right."""
    from skinflow_plugins.engine import model

    monkeypatch.setattr(model, "refuse", lambda config: None)
    engine = engines("gemma3")
    pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = load(engine.folder).model.vision_tower(pixel_values=pixels).last_hidden_state
        found = engine.model.vision_tower(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

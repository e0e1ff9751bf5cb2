"""What is shown of a model is what it computes: its routers' gains, and where its last token looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from skinflow_plugins.errors import InputError
from skinflow_plugins.models import FAMILIES, build_tiny, graft, load
from skinflow_plugins.models.image_grid import ImageGrid, grid_of
from skinflow_plugins.models.looking import ATTENTION, Attention, Look, Question, look
from skinflow_plugins.vision import FDProjection, Router, image_means

NAMES = [family.name for family in FAMILIES]
QUESTION = Question("what is it", longest_answer=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a grafted tiny model, made when it is first asked for."""
    root = tmp_path_factory.mktemp("looking")

    def made(family: str, **options: Any) -> Path:
        base, out = root / family, root / "-".join([family, "dve", *map(str, options.values())])
        if not base.exists():
            build_tiny(family, base, vocabulary=["what", "is", "it"], width=64, depth=2)
        if not out.exists():
            graft(base, out, **options)
        return out

    return made


def opened(folder: Path, *, noise: float = 0.0) -> tuple[Any, Any]:
    """The model, with routers as if trained where there is noise, and its processor."""
    model = load(folder, attn_implementation=ATTENTION)
    generator = torch.Generator().manual_seed(0)
    for router in (module for module in model.modules() if isinstance(module, Router)):
        for name, value in router.named_parameters():
            if name not in ("reduce_weight", "norm_weight"):
                value.data.add_(noise * torch.randn(value.shape, generator=generator))
    return model, AutoProcessor.from_pretrained(folder)


def picture(width: int = 56, height: int = 56, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("family", NAMES)
def test_gains_and_attention_in_every_family(family: str, folder: Callable[..., Path]) -> None:
    model, processor = opened(folder(family))
    seen = look(model, processor, picture(), QUESTION)
    assert {gains.band.shape for gains in seen.gains} == {(1, 4)}
    assert [gains.layer for gains in seen.gains] == sorted(gains.layer for gains in seen.gains)
    for gains in seen.gains:  # the identity, as it was grafted
        assert gains.input is not None
        assert gains.output is not None
        assert (gains.band == 1).all()
        assert (gains.input == 1).all()
        assert (gains.output == 1).all()
    assert seen.attention.maps.shape == (2, 4, 4)
    assert (seen.attention.maps >= 0).all()
    for layer in (0, 1, None):
        assert 0 < seen.attention.on_image(layer) <= 1 + 1e-6


@pytest.mark.parametrize("family", NAMES)
def test_the_attention_is_what_transformers_returns(family: str, folder: Callable[..., Path]) -> None:
    plain, processor = load(folder(family), attn_implementation="eager"), opened(folder(family))[1]
    seen = look(plain, processor, picture(), QUESTION)
    content = [{"type": "image"}, {"type": "text", "text": "what is it"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    batch = processor(text=[text], images=[picture()], return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        attentions = plain(**batch, output_attentions=True).attentions
    places = batch["input_ids"][0] == plain.config.image_token_id
    expected = torch.stack([layer[0, :, -1].mean(dim=0)[places] for layer in attentions])
    np.testing.assert_allclose(seen.attention.maps.reshape(2, -1), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("family", NAMES)
def test_a_cell_is_where_its_token_looks_from(family: str, folder: Callable[..., Path]) -> None:
    """Changed pixels change most the token whose cell holds them."""
    model, processor = opened(folder(family))
    states: list[torch.Tensor] = []
    layer = model.get_decoder().layers[0]
    layer.register_forward_pre_hook(lambda _, args, kwargs: states.append(args[0][0]), with_kwargs=True)
    content = [{"type": "image"}, {"type": "text", "text": "what is it"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    for row, column in ((0, 0), (0, 3), (2, 1), (3, 0)):
        pixels = np.full((56, 56, 3), 120, dtype=np.uint8)
        changed = pixels.copy()
        changed[14 * row : 14 * row + 14, 14 * column : 14 * column + 14] = (255, 20, 20)
        states.clear()
        for each in (pixels, changed):
            batch = processor(text=[text], images=[Image.fromarray(each)], return_tensors="pt")
            with torch.no_grad():
                model(**batch)
        places = batch["input_ids"][0] == model.config.image_token_id
        difference = (states[1] - states[0])[places].norm(dim=-1).numpy()
        grid = grid_of(family, processor, batch, (56, 56), int(places.sum()))
        found = np.unravel_index(grid.arrange(difference).argmax(), (4, 4))
        assert found == (row, column)


@pytest.mark.parametrize("router", ["projection", "block"])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava"])
def test_gains_are_those_of_the_routers(family: str, router: str, folder: Callable[..., Path]) -> None:
    model, processor = opened(folder(family, router=router), noise=0.2)
    inputs: dict[int, Any] = {}

    def note(module: Any, arguments: Any) -> None:
        inputs.setdefault(id(module), arguments)

    for module in model.modules():
        if isinstance(module, FDProjection):
            module.register_forward_pre_hook(note)
    seen = {gains.name: gains for gains in look(model, processor, picture(84), QUESTION).gains}
    family_of = model.skinflow_base
    blocks = model.get_submodule(f"{family_of.vision_tower}.{family_of.seam.blocks}")
    assert len(seen) == len(model.config.dve["layers"]) * len(model.config.dve["projections"])
    for name, gains in seen.items():
        mlp = blocks[gains.layer].mlp
        projection = getattr(mlp, mlp.names[gains.projection])
        source = projection if router == "projection" else getattr(mlp, mlp.names["up"])
        tokens, segments = inputs[id(source)]
        means = image_means(tokens, segments)
        chosen = projection.dve_router or mlp.dve_router
        expected = chosen(means)["" if router == "projection" else gains.projection]
        np.testing.assert_allclose(gains.band, 1 + expected.band_delta.detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(gains.input, expected.input_gain.detach().numpy(), atol=1e-6)
        np.testing.assert_allclose(gains.output, expected.output_gain.detach().numpy(), atol=1e-6)
        assert np.abs(gains.band - 1).max() > 0.01, name


def test_a_plain_model_has_no_gains(folder: Callable[..., Path]) -> None:
    base = folder("qwen2_5_vl").parent / "qwen2_5_vl"
    assert look(*opened(base), picture(), QUESTION).gains == ()


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_grid_of_a_wide_image(family: str, folder: Callable[..., Path]) -> None:
    seen = look(*opened(folder(family)), picture(112, 56), QUESTION)
    rows, columns = seen.attention.map().shape
    assert (columns, rows) == (2 * rows, rows)
    assert look(*opened(folder(family)), picture(56, 112), QUESTION).attention.map().shape == (columns, rows)


def test_an_answer_moves_the_last_token(folder: Callable[..., Path]) -> None:
    model, processor = opened(folder("qwen2_5_vl"))
    asked = look(model, processor, picture(), QUESTION)
    answered = look(model, processor, picture(), Question("what is it", answer="it is"))
    assert answered.answer == "it is"
    assert not np.allclose(asked.attention.maps, answered.attention.maps)


def test_a_cropped_picture_is_known_to_be_cropped(folder: Callable[..., Path]) -> None:
    grid = look(*opened(folder("llava")), picture(84, 56), QUESTION).attention.grid
    np.testing.assert_allclose(grid.box, (1 / 6, 0, 5 / 6, 1))
    outside = np.zeros((56, 84), dtype=bool)
    outside[:, :14] = True
    assert np.abs(grid.covered(outside)).max() < 1e-12
    assert grid.covered(~outside).min() > 1 - 1e-12


@pytest.mark.parametrize(("size", "shape"), [((112, 56), (4, 8)), ((56, 112), (8, 4)), ((112, 112), (8, 8))])
def test_internvl_tiles_are_put_together(
    size: tuple[int, int], shape: tuple[int, int], folder: Callable[..., Path]
) -> None:
    model, processor = opened(folder("internvl"))
    processor.image_processor.max_patches = 4
    seen = look(model, processor, picture(*size), QUESTION)
    assert seen.attention.map().shape == shape
    tiles = shape[0] * shape[1] // 16 + 1
    assert {gains.band.shape for gains in seen.gains} == {(tiles, 4)}
    assert seen.attention.on_image() <= 1 + 1e-6


def test_idefics3_tiles_are_put_together(folder: Callable[..., Path]) -> None:
    model, processor = opened(folder("idefics3"))
    processor.image_processor.do_image_splitting = True
    processor.image_processor.size = {"longest_edge": 112}
    _, rows, columns = processor.image_processor.get_number_of_image_patches(56, 112)
    assert (rows, columns) == (1, 2)
    names = [f"<row_{row}_col_{column}>" for row in (1,) for column in (1, 2)]
    processor.tokenizer.add_tokens(names, special_tokens=True)
    model.resize_token_embeddings(len(processor.tokenizer))
    seen = look(model, processor, picture(112, 56), QUESTION)
    assert seen.attention.map().shape == (4, 8)
    assert {gains.band.shape for gains in seen.gains} == {(3, 4)}


def test_tiles_of_an_unknown_layout_are_refused() -> None:
    with pytest.raises(InputError, match="the processor cut the image into 3 pieces"):
        grid_of("gemma3", None, {"pixel_values": torch.zeros(3, 3, 56, 56)}, (56, 56), 48)


def test_arranging_keeps_the_sum_and_the_places() -> None:
    grid = ImageGrid(2, 2, rows=1, columns=2)
    assert (grid.tiles, grid.tokens) == (3, 12)
    np.testing.assert_allclose(
        grid.arrange(np.array([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0.0])), [[1, 2, 5, 6], [3, 4, 7, 8]]
    )
    whole = grid.arrange(np.array([0.0] * 8 + [2.0, 4, 6, 8]))
    np.testing.assert_allclose(whole, [[1, 1, 2, 2], [3, 3, 4, 4]])


def made(maps: np.ndarray) -> Look:
    return Look(Attention(maps, ImageGrid(*maps.shape[1:])))


def test_the_share_on_a_mask() -> None:
    maps = np.random.default_rng(1).uniform(size=(3, 4, 6)) / 30
    attention = made(maps).attention
    full, empty = np.ones((37, 53), dtype=bool), np.zeros((37, 53), dtype=bool)
    assert attention.on_mask(full) == pytest.approx(1)
    assert attention.on_mask(empty) == 0
    assert attention.area(full) == pytest.approx(1)
    half = empty.copy()
    half[:, :20] = True
    assert attention.on_mask(half) + attention.on_mask(~half) == pytest.approx(1)
    one = np.zeros((1, 4, 6))
    one[0, 1, 2] = 0.5
    inside = np.zeros((40, 60), dtype=bool)
    inside[10:20, 20:25] = True  # the left half of that cell
    assert made(one).attention.on_mask(inside) == pytest.approx(0.5)


def test_even_attention_gives_the_area() -> None:
    mask = np.random.default_rng(2).uniform(size=(37, 53)) > 0.7
    even = made(np.full((2, 4, 6), 1 / 60)).attention
    assert even.area(mask) == pytest.approx(mask.mean())
    assert even.on_mask(mask) == pytest.approx(mask.mean())
    assert even.on_mask(mask, 1) == pytest.approx(mask.mean())


def test_no_attention_on_the_image_is_no_share() -> None:
    assert made(np.zeros((1, 2, 2))).attention.on_mask(np.ones((4, 4), dtype=bool)) == 0

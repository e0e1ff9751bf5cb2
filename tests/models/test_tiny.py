"""A tiny member of each family is an ordinary checkpoint: it loads, sees, stops, is rebuilt byte for byte."""

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from skinflow_plugins.models import FAMILIES, BaseFamily, build_tiny, family_of

WORDS = ["What is shown?", "psoriasis", "eczema", "red", "brown", "Läsion"]
IMAGE_TOKENS = 16
FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny model per family."""
    root = tmp_path_factory.mktemp("tiny")
    return {family.name: build_tiny(family.name, root / family.name, vocabulary=WORDS) for family in FAMILIES}


@pytest.fixture(scope="module")
def processors(folders: dict[str, Path]) -> dict[str, Any]:
    return {name: AutoProcessor.from_pretrained(folder) for name, folder in folders.items()}


def load(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder)


def prompt(processor: Any, color: str) -> Any:
    """A question about one image of 56 x 56, written by the chat template."""
    content = [{"type": "image"}, {"type": "text", "text": "What is shown?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return processor(text=[text], images=[Image.new("RGB", (56, 56), color)], return_tensors="pt")


@FAMILY
def test_loads_and_sees_the_image(
    family: BaseFamily, folders: dict[str, Path], processors: dict[str, Any]
) -> None:
    model, processor = load(folders[family.name]), processors[family.name]
    assert family_of(folders[family.name]) is family
    assert type(model).__name__ in family.architectures
    assert model.dtype == torch.float32
    assert sum(parameter.numel() for parameter in model.parameters()) < 2_000_000

    red, blue = prompt(processor, "red"), prompt(processor, "blue")
    assert (red["input_ids"] == model.config.image_token_id).sum() == IMAGE_TOKENS
    with torch.no_grad():
        logits_red, logits_blue = (model(**batch).logits for batch in (red, blue))
    assert logits_red.shape[-1] == len(processor.tokenizer)
    assert torch.isfinite(logits_red).all()
    assert not torch.equal(logits_red, logits_blue)


@FAMILY
def test_a_gradient_reaches_the_tower(
    family: BaseFamily, folders: dict[str, Path], processors: dict[str, Any]
) -> None:
    model, batch = load(folders[family.name]), prompt(processors[family.name], "red")
    model(**batch, labels=batch["input_ids"]).loss.backward()
    tower = reduce(getattr, family.vision_tower.split("."), model)
    gradients = [p.grad for p in tower.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0


@FAMILY
def test_token_ids_agree(family: BaseFamily, folders: dict[str, Path], processors: dict[str, Any]) -> None:
    model, tokenizer = load(folders[family.name]), processors[family.name].tokenizer
    text_config, generation = model.config.get_text_config(), model.generation_config
    placeholders = tokenizer.convert_tokens_to_ids(list(family.image_placeholders))

    assert len(tokenizer) == text_config.vocab_size
    assert model.config.image_token_id in placeholders
    assert processors[family.name].image_token_id in placeholders
    assert tokenizer.encode("".join(family.image_placeholders), add_special_tokens=False) == placeholders
    assert tokenizer.eos_token_id == text_config.eos_token_id
    assert tokenizer.eos_token_id in generation.eos_token_id
    assert tokenizer.pad_token_id == text_config.pad_token_id == generation.pad_token_id


@FAMILY
def test_only_ends_are_sampled_of_the_special_tokens(
    family: BaseFamily, folders: dict[str, Path], processors: dict[str, Any]
) -> None:
    model, processor = load(folders[family.name]), processors[family.name]
    stops = set(model.generation_config.eos_token_id)
    forbidden = set(processor.tokenizer.added_tokens_decoder) - stops
    assert set(model.generation_config.suppress_tokens) == forbidden

    batch = prompt(processor, "red")
    for stop in stops:
        out = model.generate(**batch, max_new_tokens=4, do_sample=False, sequence_bias=[[[stop], 1e4]])
        assert out[0, batch["input_ids"].shape[1] :].tolist() == [stop]
    torch.manual_seed(0)
    out = model.generate(**batch, max_new_tokens=20, do_sample=True, num_return_sequences=8)
    sampled = set(out[:, batch["input_ids"].shape[1] :].flatten().tolist())
    assert not sampled & (forbidden - {processor.tokenizer.pad_token_id})


@FAMILY
@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_round_trips(family: BaseFamily, processors: dict[str, Any], text: str) -> None:
    tokenizer = processors[family.name].tokenizer
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


@FAMILY
def test_words_are_single_tokens(family: BaseFamily, processors: dict[str, Any]) -> None:
    tokenizer = processors[family.name].tokenizer
    assert len(tokenizer.tokenize("psoriasis; red Läsion")) == 4
    assert len(tokenizer.tokenize("acne")) == len("acne")
    assert len(tokenizer) < 320


@FAMILY
def test_equal_arguments_give_equal_bytes(
    family: BaseFamily, folders: dict[str, Path], tmp_path: Path
) -> None:
    torch.rand(1)  # the state of the global generator must not matter
    again = build_tiny(family.name, tmp_path / "again", vocabulary=WORDS)
    names = sorted(path.name for path in again.iterdir())
    assert names == sorted(path.name for path in folders[family.name].iterdir())
    for name in names:
        assert (again / name).read_bytes() == (folders[family.name] / name).read_bytes(), name

    other = build_tiny(family.name, tmp_path / "other", vocabulary=WORDS, seed=1)
    weights = "model.safetensors"
    assert (other / weights).read_bytes() != (again / weights).read_bytes()


@FAMILY
def test_other_sizes(family: BaseFamily, tmp_path: Path) -> None:
    folder = build_tiny(family.name, tmp_path, vocabulary=WORDS, width=32, depth=2)
    with torch.no_grad():
        logits = load(folder)(**prompt(AutoProcessor.from_pretrained(folder), "red")).logits
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 100}, "width is 100; expected a multiple of 32"),
        ({"width": 0}, "width is 0; expected a multiple of 32"),
        ({"depth": 1}, "depth is 1; expected at least 2"),
    ],
)
def test_impossible_sizes(arguments: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        build_tiny("llava", tmp_path / "out", vocabulary=WORDS, **arguments)
    assert not (tmp_path / "out").exists()

"""Tiny bases of every family with a seam, and grafts of them, made once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoProcessor

from skinflow_plugins.models import FAMILIES, build_tiny, family_named, graft, load
from skinflow_plugins.models.distinct_images import share_images

SMALL = {"width": 64, "depth": 3}


@pytest.fixture(scope="session", autouse=True)
def as_transformers_saves() -> None:
    """transformers' own `save_pretrained`: once swift was met in this process, ours writes new names."""
    from transformers import PreTrainedModel

    PreTrainedModel.save_pretrained = getattr(
        PreTrainedModel.save_pretrained, "__wrapped__", PreTrainedModel.save_pretrained
    )


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny base of every family."""
    root = tmp_path_factory.mktemp("bases")
    words = ["What is shown?"]
    return {
        each.name: build_tiny(each.name, root / each.name, vocabulary=words, **SMALL) for each in FAMILIES
    }


@pytest.fixture(scope="session")
def grafts(bases: Mapping[str, Path]) -> dict[str, Path]:
    """A graft of every base, as a user gets it: routers that change nothing."""
    for folder in bases.values():
        graft(folder, folder.with_name(f"{folder.name}-graft"))
    return {name: folder.with_name(f"{name}-graft") for name, folder in bases.items()}


def stir(folder: Path) -> Path:
    """The graft in `folder` with random heads in its routers, in place."""
    file, generator = folder / "dve.safetensors", torch.Generator().manual_seed(0)
    tensors = load_file(file)
    for name, value in tensors.items():
        if "dve_router" in name and not name.endswith(("reduce_weight", "norm_weight")):
            tensors[name] = 0.5 * torch.randn(value.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def stirred(bases: Mapping[str, Path]) -> Callable[..., Path]:
    """`stirred(family, **options of graft)`: a graft whose routers do something, made once."""
    made: dict[str, Path] = {}

    def get(name: str, **options: Any) -> Path:
        key = json.dumps([name, options])
        if key not in made:
            out = bases[name].with_name(f"{name}-stirred-{len(made)}")
            graft(bases[name], out, **options)
            made[key] = stir(out)
        return made[key]

    return get


@pytest.fixture(scope="session")
def opened(bases: Mapping[str, Path], stirred: Callable[..., Path]) -> Callable[..., Any]:
    """`opened(family)`: a base's model, of one's own; with "dynamic", one whose routers tell images apart."""
    loaded: dict[tuple[str, str], nn.Module] = {}

    def get(name: str, kind: str = "plain") -> Any:
        if (name, kind) not in loaded:
            loaded[name, kind] = load(stirred(name) if kind == "dynamic" else bases[name])
        return copy.deepcopy(loaded[name, kind])

    return get


def square(seed: int, side: int = 56) -> Image.Image:
    """An image of noise; no two seeds are alike."""
    shade = 40 * (seed % 4)
    noise = torch.randint(shade, shade + 100, (side, side, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(noise.numpy().astype("uint8"))


@pytest.fixture(scope="session")
def asked(bases: Mapping[str, Path]) -> Callable[..., Any]:
    """`asked(family, [[0, 1], [2]])`: a batch whose first row is about images 0 and 1."""
    processors = {name: AutoProcessor.from_pretrained(folder) for name, folder in bases.items()}

    def batch(name: str, rows: list[list[int]]) -> Any:
        processor = processors[name]
        texts = []
        for row in rows:
            content = [*({"type": "image"} for _ in row), {"type": "text", "text": "What is shown?"}]
            message = {"role": "user", "content": content}
            texts.append(processor.apply_chat_template([message], add_generation_prompt=True))
        images = [[square(seed) for seed in row] for row in rows]
        options = {"return_tensors": "pt", "padding": True, "padding_side": "right"}
        return processor(text=texts, images=images, **options)

    return batch


@pytest.fixture(scope="session")
def helpers() -> SimpleNamespace:
    """Functions that several test files share."""
    known = (
        *(stir, square, image_embeddings),
        *(tower, share, assert_close, computed, gradients, assert_same_gradients),
    )
    return SimpleNamespace(**{each.__name__: each for each in known})


def image_embeddings(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """What the language model is shown at the image tokens, in their order."""
    seen = []

    def look(module: Any, args: Any, kwargs: Any) -> None:
        seen.append(kwargs["inputs_embeds"])

    hook = model.get_decoder().register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        model(**batch)
    hook.remove()
    return seen[0][batch["input_ids"] == model.config.image_token_id]


# ------------------------------------------------------------------------------------------------------------
# For the tests of a tower that shares images


def tower(model: Any, name: str) -> Any:
    """The vision tower of a model of this family."""
    return reduce(getattr, family_named(name).vision_tower.split("."), model)


def share(model: nn.Module, name: str) -> None:
    """Make the model's tower share images."""
    assert share_images(model, family_named(name)) == ""


def assert_close(found: Any, expected: Any) -> None:
    """Equal to the last bits of fp32, carried through three layers: a product of fewer rows may be added up
    in another order.
    """
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def computed(model: Any, name: str, run: Callable[[], Any]) -> tuple[Any, int]:
    """What `run` gives, and how many rows of patches or images the tower's first module was given."""
    first, rows = next(tower(model, name).children()), 0

    def look(module: Any, arguments: Any, keywords: Any) -> None:
        nonlocal rows
        rows += len(next(iter((*arguments, *keywords.values()))))

    hook = first.register_forward_pre_hook(look, with_kwargs=True)
    result = run()
    hook.remove()
    return result, rows


def gradients(model: nn.Module, run: Callable[[], Tensor]) -> dict[str, Tensor]:
    """The gradient of every parameter that `run`'s result has one for."""
    model.zero_grad()
    run().backward()
    return {key: each.grad.clone() for key, each in model.named_parameters() if each.grad is not None}


def assert_same_gradients(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-4
) -> None:
    """Equal to rounding, at most `tolerance` of each gradient.

    Measured are 6e-7 in plain and 2e-5 in dynamic towers, whose gains pass the last bits of one layer on to
    all weights of the next. Some gradients would be zero but for rounding, such as those of key biases; they
    are compared with the largest one.
    """
    assert found.keys() == expected.keys()
    scale = max(each.norm() for each in expected.values())
    for key, value in expected.items():
        difference = (found[key] - value).norm()
        assert difference <= tolerance * (value.norm() + scale / 10), f"{key}: {difference} of {value.norm()}"

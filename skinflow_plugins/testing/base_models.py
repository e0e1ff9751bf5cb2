"""The contract of base model families as one call, on a real checkpoint: a tiny one does."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from skinflow_plugins.models.dynamic import dynamic_family, register
from skinflow_plugins.models.families import BaseFamily, family_of
from skinflow_plugins.models.graft import graft
from skinflow_plugins.testing.law import Check
from skinflow_plugins.vision import Router

Inputs = Callable[[Sequence[Image.Image]], Mapping[str, Any]]
"""What a model is given for some images: a batch with one row for each, padded on the right."""

SIZES = ((56, 56), (56, 84), (84, 56))
"""Sizes of the images that models are tried with; the processor makes of them what it makes of any."""

_TOLERANCE = 1e-4


def check_base_model(family: BaseFamily, folder: Path, *, inputs: Inputs | None = None) -> None:
    """Hold a family's description to a checkpoint; `AssertionError` names the family and the broken law.

    Without `inputs` they are made by the folder's processor, from its chat template if it has one. The laws:
    the config is recognised; transformers loads one of the architectures; the vision tower is where it is
    said to be; placeholders are single tokens, the image's own first; a row of a batch counts as if alone.
    With a seam: a graft can be made; it starts as the base; then its routers matter, and each gets a
    gradient; all dynamic layers see the same images, and every image is as if alone; saving and loading
    changes nothing.
    """
    check = Check(f"base model {family.name!r}")
    _check_config(check, family, folder)
    batch = inputs or image_rows(check, family, folder)
    with check.law("transformers loads the checkpoint"):
        base = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    if type(base).__name__ not in family.architectures:
        found = f"{type(base).__name__}, not of {', '.join(family.architectures)}"
        check.fail("the checkpoint's architecture is one of the family's", found)
    with check.law(f"the vision tower is at {family.vision_tower!r}"):
        reduce(getattr, family.vision_tower.split("."), base)
    if inputs is None:
        _check_placeholders(check, family, folder, base.config)
    images = noise_images()
    expected = _check_rows(check, base, batch, images, "of the base model")
    if family.seam is not None:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                _check_seam(check, family, folder, Path(scratch), batch, images, expected)
            finally:
                register()  # `family` may have stood in for one of ours


def perturb_routers(model: torch.nn.Module, seed: int = 0) -> None:
    """Give every router of a dynamic model random heads: gains that differ from image to image."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Router):
                for name, value in module.named_parameters():
                    if name not in ("reduce_weight", "norm_weight"):
                        value.copy_(0.5 * torch.randn(value.shape, generator=generator))


def noise_images(seed: int = 0) -> list[Image.Image]:
    """An image of each of the `SIZES`; no two are alike."""
    generator = numpy.random.default_rng(seed)
    shades = ((0, 120), (60, 200), (130, 255))
    return [
        Image.fromarray(generator.integers(*shade, (height, width, 3)).astype("uint8"))
        for shade, (width, height) in zip(shades, SIZES, strict=True)
    ]


def image_rows(check: Check, family: BaseFamily, folder: Path) -> Inputs:
    """Inputs by the processor of a folder: a short question about each image."""
    with check.law("the folder holds a processor"):
        processor = AutoProcessor.from_pretrained(folder)
    text = f"{family.image_placeholders[0]} What is shown?"
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": "What is shown?"}]
        with check.law("the chat template takes an image and a text"):
            text = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )

    def rows(images: Sequence[Image.Image]) -> Mapping[str, Any]:
        with check.law("the processor takes a batch with one image in each row"):
            found: Mapping[str, Any] = processor(
                text=[text] * len(images),
                images=[[image] for image in images],
                return_tensors="pt",
                padding=True,
                padding_side="right",
            )
        return found

    return rows


def row_logits(model: Any, batch: Mapping[str, Any]) -> list[Tensor]:
    """The logits of each row's tokens, without its padding."""
    logits = model(**batch).logits
    return [row[: int(mask.sum())] for row, mask in zip(logits, batch["attention_mask"], strict=True)]


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest logit where that is above 1."""
    pairs = zip(found, expected, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in pairs)


def _check_config(check: Check, family: BaseFamily, folder: Path) -> None:
    with check.law("the folder holds a config.json"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if family_of(config, [family]) is not family:
        found = f"{config.get('model_type')!r}, not {family.hf_model_type!r}"
        check.fail("its hf_model_type is the checkpoint's", found)
    with check.law("`hub_ids` is a regular expression"):
        re.compile(family.hub_ids)
    unknown = [name for name in family.architectures if not hasattr(transformers, name)]
    if unknown or not family.architectures:
        check.fail("its architectures are classes of transformers", ", ".join(unknown) or "none")


def _check_placeholders(check: Check, family: BaseFamily, folder: Path, config: Any) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    law = "every image placeholder is one token of the tokenizer"
    ids = []
    for placeholder in family.image_placeholders:
        found = processor.tokenizer.encode(placeholder, add_special_tokens=False)
        if len(found) != 1:
            check.fail(law, f"{placeholder!r} is {len(found)}")
        ids += found
    law = "the first placeholder stands for an image"
    if not ids:
        check.fail(law, "there is none")
    image_token = getattr(config, "image_token_id", None)
    with check.law(law):
        text = f"{family.image_placeholders[0]} What is shown?"
        shown = processor(text=[text], images=[[noise_images()[0]]], return_tensors="pt")["input_ids"]
    if image_token not in ids:
        check.fail("the model's image token is among the placeholders", f"{image_token} is not in {ids}")
    if not (shown == image_token).any():
        check.fail(law, f"{family.image_placeholders[0]!r} and an image make no image tokens")


def _check_rows(
    check: Check, model: Any, batch: Inputs, images: Sequence[Image.Image], what: str
) -> list[Tensor]:
    """Each row of a batch against the row alone; the logits of the rows."""
    with check.law(f"a forward pass {what} runs"), torch.no_grad():
        together = row_logits(model, batch(images))
        alone = [row_logits(model, batch([image]))[0] for image in images]
    law = f"every image {what} is as if alone, whatever the other rows hold"
    for number, (a, b) in enumerate(zip(together, alone, strict=True)):
        if a.shape != b.shape:
            check.fail(law, f"row {number} has {len(a)} tokens in the batch and {len(b)} alone")
        if not torch.isfinite(a).all():
            check.fail(f"the logits {what} are finite", f"row {number}")
        if (gap := difference([a], [b])) > _TOLERANCE:
            check.fail(law, f"row {number} differs by {gap:.1e}")
    if all(len(row) == len(together[0]) for row in together) and torch.equal(together[0], together[1]):
        check.fail(f"the logits {what} depend on the image")
    return together


def _check_seam(
    check: Check,
    family: BaseFamily,
    folder: Path,
    scratch: Path,
    batch: Inputs,
    images: Sequence[Image.Image],
    expected: Sequence[Tensor],
) -> None:
    with check.law("a graft can be made by its seam"):
        register([family])
        graft(folder, scratch / "graft", family=family)
        model = _load(family, scratch / "graft")
    with check.law("a forward pass of the dynamic model runs"), torch.no_grad():
        start = row_logits(model, batch(images))
    if (gap := difference(start, expected)) > _TOLERANCE:
        check.fail("the dynamic model starts as the base model", f"logits differ by {gap:.1e}")

    perturb_routers(model)
    seen = _images_seen(model, batch, images)
    if len(set(seen.values())) != 1:
        found = ", ".join(f"{name} {count}" for name, count in seen.items())
        check.fail("all dynamic layers see the same number of images", found)
    changed = _check_rows(check, model, batch, images, "of the dynamic model")
    if difference(changed, start) < 10 * _TOLERANCE:
        check.fail("gains other than one change the logits")
    _check_gradients(check, model, batch(images))

    with check.law("it is saved and loaded again"), torch.no_grad():
        model.save_pretrained(scratch / "saved")
        again = row_logits(_load(family, scratch / "saved"), batch(images))
    if difference(again, changed) > 0:
        check.fail("saving and loading changes nothing", f"logits differ by {difference(again, changed):.1e}")


def _load(family: BaseFamily, folder: Path) -> Any:
    model_class: Any = dynamic_family(family).model_class
    return model_class.from_pretrained(folder, dtype=torch.float32).eval()


def _images_seen(model: torch.nn.Module, batch: Inputs, images: Sequence[Image.Image]) -> dict[str, int]:
    """How many images each router was shown in a forward pass."""
    seen: dict[str, int] = {}
    routers = {name: module for name, module in model.named_modules() if isinstance(module, Router)}
    hooks = [
        module.register_forward_pre_hook(lambda module, given, name=name: seen.update({name: len(given[0])}))
        for name, module in routers.items()
    ]
    with torch.no_grad():
        model(**batch(images))
    for hook in hooks:
        hook.remove()
    return {name: seen.get(name, 0) for name in routers}


def _check_gradients(check: Check, model: torch.nn.Module, batch: Mapping[str, Any]) -> None:
    model.requires_grad_(False)
    routers = {
        f"{name}.{key}": value.requires_grad_()
        for name, module in model.named_modules()
        if isinstance(module, Router)
        for key, value in module.named_parameters()
    }
    with check.law("a backward pass of the dynamic model runs"):
        torch.cat(row_logits(model, batch)).square().mean().backward()
    law = "every router parameter gets a gradient"
    for name, value in routers.items():
        if value.grad is None or not value.grad.any():
            check.fail(law, f"{name} gets none: nobody reads what its layer gives")
        if not torch.isfinite(value.grad).all():
            check.fail(law, f"that of {name} is not finite")

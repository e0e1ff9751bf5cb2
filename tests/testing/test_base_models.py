"""The contract of families: ours keep it (tests/models), and whoever breaks a law is told which."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2ImageProcessor,
    Idefics2Processor,
    MistralConfig,
)

from skinflow_plugins.models import BaseFamily, build_tiny, family_named
from skinflow_plugins.models.seam import rows
from skinflow_plugins.models.tiny import idefics3
from skinflow_plugins.models.tiny.tokenizer import word_tokenizer
from skinflow_plugins.testing import check_base_model

IDEFICS2 = BaseFamily(
    name="idefics2",
    summary="Idefics2: images of any shape in padded batches",
    hf_model_type="idefics2",
    architectures=("Idefics2ForConditionalGeneration",),
    swift_model_type="idefics2",
    swift_template="idefics2",
    image_placeholders=("<image>",),
    vision_tower="model.vision_model",
    seam=rows(images="masked_rows"),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("tiny")

    def folder(name: str) -> Path:
        if not (root / name).exists():
            if name == "idefics2":
                build_idefics2(root / name)
            else:
                build_tiny(name, root / name, vocabulary=["What is shown?"], width=64, depth=3)
        return root / name

    return folder


def build_idefics2(out: Path) -> None:
    """A tower whose batches are padded to the largest image, unlike those of the families that we ship."""
    tokenizer = word_tokenizer(["What is shown?"], idefics3.DIALECT)
    ids = tokenizer.convert_tokens_to_ids
    config = Idefics2Config(
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 84,
            "patch_size": 7,
            "initializer_range": 0.1,
        },
        perceiver_config={
            "hidden_size": 64,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 32,
            "num_key_value_heads": 1,
            "initializer_range": 0.1,
        },
        text_config=MistralConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            initializer_range=0.1,
        ),
        image_token_id=ids("<image>"),
    )
    torch.manual_seed(0)
    Idefics2ForConditionalGeneration(config).save_pretrained(out)
    images = Idefics2ImageProcessor(size={"shortest_edge": 56, "longest_edge": 84}, do_image_splitting=False)
    Idefics2Processor(images, tokenizer, image_seq_len=4).save_pretrained(out)


def test_a_family_of_towers_with_real_padding(tiny: Callable[[str], Path]) -> None:
    check_base_model(IDEFICS2, tiny("idefics2"))


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_a_family_without_a_seam(name: str, tiny: Callable[[str], Path]) -> None:
    check_base_model(replace(family_named(name), seam=None), tiny(name))


def broken(name: str, *, seam: dict[str, Any] | None = None, **changes: Any) -> BaseFamily:
    family = IDEFICS2 if name == "idefics2" else family_named(name)
    if seam is not None:
        changes["seam"] = replace(family.seam, **seam)
    return replace(family, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "law"),
    [
        ("llava", {"hf_model_type": "clip"}, "its hf_model_type is the checkpoint's: 'llava', not 'clip'"),
        ("llava", {"hub_ids": "("}, "`hub_ids` is a regular expression: "),
        (
            "llava",
            {"architectures": ("LlavaModels",)},
            "its architectures are classes of transformers: LlavaM",
        ),
        (
            "llava",
            {"architectures": ("LlavaNextForConditionalGeneration",)},
            "the checkpoint's architecture is one of the family's: LlavaForConditionalGeneration, not of",
        ),
        ("llava", {"vision_tower": "model.visual"}, "the vision tower is at 'model.visual': AttributeError"),
        ("llava", {"image_placeholders": ("<picture>",)}, "every image placeholder is one token"),
        (
            "qwen2_5_vl",
            {"image_placeholders": ("<|video_pad|>", "<|image_pad|>")},
            "the first placeholder stands for an image",
        ),
        (
            "gemma3",
            {"image_placeholders": ("<start_of_image>",)},
            "the model's image token is among the placeh",
        ),
        ("llava", {"seam": {"blocks": "encoder.steps"}}, "a graft can be made by its seam: InputError: "),
        ("llava", {"seam": {"activation": "act"}}, "a graft can be made by its seam: InputError: "),
        (
            "llava",
            {"seam": {"projections": {"up": "fc0", "down": "fc2"}}},
            "a graft can be made by its seam: InputError: ",
        ),
        ("llava", {"seam": {"depth": "layers"}}, "a graft can be made by its seam: AttributeError: "),
        (
            "llava",
            {"seam": {"feature_layer": None}},
            "every router parameter gets a gradient: model.vision_tower",
        ),
        ("llava", {"seam": {"images": "packed"}}, "a forward pass of the dynamic model runs: "),
        (
            "qwen3_vl",
            {"seam": {"images": "rows"}},
            "a forward pass of the dynamic model runs: ValueError: a packed",
        ),
        (
            "qwen2_5_vl",
            {"seam": {"full_attention": None}},
            "all dynamic layers see the same number of images: ",
        ),
        (
            "qwen2_5_vl",
            {"seam": {"projections": {"up": "up_proj", "down": "down_proj"}}},
            "the dynamic model starts as the base model: logits differ by",
        ),
        (
            "idefics2",
            {"seam": {"images": "rows"}},
            "every image of the dynamic model is as if alone, whatever the other rows hold: row 0 differs by",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_broken_laws_are_named(
    name: str, changes: dict[str, Any], law: str, tiny: Callable[[str], Path]
) -> None:
    family = broken(name, **changes)
    with pytest.raises(AssertionError, match="^" + re.escape(f"base model {family.name!r}: {law}")):
        check_base_model(family, tiny(name))


def test_inputs_of_ones_own(tiny: Callable[[str], Path]) -> None:
    """Inputs that show the model the same image whatever it is asked about."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(tiny("llava"))

    def blind(images: Any) -> Any:
        return processor(
            text=["<image> What?"] * len(images), images=[images[0]] * len(images), return_tensors="pt"
        )

    with pytest.raises(AssertionError, match=r"is as if alone|depend on the image"):
        check_base_model(family_named("llava"), tiny("llava"), inputs=blind)

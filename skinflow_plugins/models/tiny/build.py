"""Builds a tiny member of a base model family as an ordinary Hugging Face folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, GenerationConfig

from skinflow_plugins.models.families import family_named
from skinflow_plugins.models.tiny import gemma3, idefics3, internvl, llava, qwen2_5_vl, qwen3_vl
from skinflow_plugins.models.tiny.blueprint import HEAD_WIDTH, Blueprint, Size
from skinflow_plugins.models.tiny.tokenizer import word_tokenizer

BLUEPRINTS: dict[str, Blueprint] = {
    "qwen2_5_vl": qwen2_5_vl.BLUEPRINT,
    "qwen3_vl": qwen3_vl.BLUEPRINT,
    "llava": llava.BLUEPRINT,
    "gemma3": gemma3.BLUEPRINT,
    "idefics3": idefics3.BLUEPRINT,
    "internvl": internvl.BLUEPRINT,
}


def build_tiny(
    family: str,
    out: Path,
    *,
    vocabulary: Sequence[str],
    seed: int = 0,
    width: int = 128,
    depth: int = 3,
) -> Path:
    """Return `out` after writing an untrained fp32 model of `family` there.

    Made for images of 56 x 56 pixels, which become 16 image tokens in every family. Each word of
    `vocabulary` is one token and any other text is spelled in bytes. `width` is the number of channels
    (a multiple of 32) and `depth` the number of layers, of the tower and of the language model alike.
    Equal arguments give equal bytes. ValueError for an unknown family or an impossible size.
    """
    blueprint = BLUEPRINTS[family_named(family).name]
    if width < HEAD_WIDTH or width % HEAD_WIDTH:
        raise ValueError(
            f"width is {width}; expected a multiple of {HEAD_WIDTH}, the width of one attention head"
        )
    if depth < 2:
        raise ValueError(f"depth is {depth}; expected at least 2 (LLaVA reads the layer before the last)")

    dialect = blueprint.dialect
    tokenizer = word_tokenizer(vocabulary, dialect)
    ids = dict(
        zip(dialect.special_tokens(), tokenizer.convert_tokens_to_ids(dialect.special_tokens()), strict=True)
    )
    size = Size(width=width, depth=depth, vocabulary=len(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = blueprint.config(size, ids.__getitem__)
        for part in (config, *(getattr(config, name) for name in config.sub_configs)):
            # transformers' .02 suits thousands of channels; at 128 it costs a hundred steps to leave
            part.initializer_range = width**-0.5
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        for weight in model.parameters():
            if (
                weight.ndim > 1 and not weight.any()
            ):  # Gemma 3's projector starts at zero: no image would pass it
                torch.nn.init.normal_(weight, std=0.02)
    stops = [ids[token] for token in dialect.stops]
    model.generation_config = GenerationConfig(
        bos_token_id=ids[dialect.bos] if dialect.bos else None,
        eos_token_id=stops,
        pad_token_id=ids[dialect.pad],
        # An untrained model would sample image tokens that no image stands behind.
        suppress_tokens=[index for index in ids.values() if index not in stops],
    )
    model.save_pretrained(out)
    blueprint.processor(tokenizer, dialect.chat_template).save_pretrained(out)
    return out

"""A tiny Qwen3-VL: full attention, tower features also fed to the language model's first layers."""

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from skinflow_plugins.models.tiny.blueprint import HEAD_WIDTH, Blueprint, Size, TokenIds
from skinflow_plugins.models.tiny.chatml import chatml

PATCH = 7
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 448 * 448}
MEAN = [0.5, 0.5, 0.5]


def _config(size: Size, ids: TokenIds) -> Qwen3VLConfig:
    vision = {
        "depth": size.depth,
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_heads": size.heads,
        "patch_size": PATCH,
        "out_hidden_size": size.width,
        "num_position_embeddings": 64,  # a table of 8 x 8, interpolated for other sizes
        "deepstack_visual_indexes": [0],
    }
    text = {
        "vocab_size": size.vocabulary,
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.key_value_heads,
        "head_dim": HEAD_WIDTH,
        "max_position_embeddings": 4096,
        # channels of half a head for time, height and width
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [HEAD_WIDTH // 2 - 10, 5, 5],
            "mrope_interleaved": True,
        },
        "bos_token_id": None,
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }
    return Qwen3VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def _processor(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> Qwen3VLProcessor:
    images = Qwen2VLImageProcessor(patch_size=PATCH, size=PIXELS, image_mean=MEAN, image_std=MEAN)
    return Qwen3VLProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(patch_size=PATCH, size=PIXELS),
        chat_template=chat_template,
    )


BLUEPRINT = Blueprint(dialect=chatml(system=None), config=_config, processor=_processor)

"""A tiny Qwen2.5-VL: window blocks, then one with full attention; 16 tokens for 56 x 56 pixels."""

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from skinflow_plugins.models.tiny.blueprint import HEAD_WIDTH, Blueprint, Size, TokenIds
from skinflow_plugins.models.tiny.chatml import chatml

PATCH = 7
PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 448 * 448}


def _config(size: Size, ids: TokenIds) -> Qwen2_5_VLConfig:
    vision = {
        "depth": size.depth,
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_heads": size.heads,
        "patch_size": PATCH,
        "window_size": 8 * PATCH,  # one window in a 56 x 56 image: each more is a small attention call
        "fullatt_block_indexes": [size.depth - 1],
        "out_hidden_size": size.width,
    }
    text = {
        "vocab_size": size.vocabulary,
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.key_value_heads,
        "max_position_embeddings": 4096,
        # channels of half a head for time, height and width
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [HEAD_WIDTH // 2 - 12, 6, 6],
        },
        "bos_token_id": None,
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }
    return Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def _processor(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> Qwen2_5_VLProcessor:
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=PATCH, size=PIXELS),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=PATCH, size=PIXELS),
        chat_template=chat_template,
    )


BLUEPRINT = Blueprint(
    dialect=chatml(system="You are a helpful assistant."), config=_config, processor=_processor
)

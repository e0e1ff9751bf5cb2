"""A tiny InternVL3: InternViT at 56 x 56 with patches of 7, shuffled from 64 to 16 image tokens, one tile."""

from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from skinflow_plugins.models.tiny.blueprint import Blueprint, Dialect, Size, TokenIds

SIDE = 56
PATCH = 7
SHUFFLE = 2
TOKENS_PER_IMAGE = (SIDE // PATCH // SHUFFLE) ** 2
PIXELS = {"height": SIDE, "width": SIDE}

DIALECT = Dialect(
    eos="<|im_end|>",
    pad="<|endoftext|>",
    bos=None,
    stops=("<|im_end|>", "<|endoftext|>"),
    named={
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
    others=("<|im_start|>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"),
    words=("system", "user", "assistant"),
    chat_template="""\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<IMG_CONTEXT>\\n' -}}
{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
""",
)


def _config(size: Size, ids: TokenIds) -> InternVLConfig:
    vision = InternVLVisionConfig(
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        attention_bias=True,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=ids("<|im_end|>"),
        pad_token_id=ids("<|endoftext|>"),
    )
    return InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=ids("<IMG_CONTEXT>"),
        image_seq_length=TOKENS_PER_IMAGE,
        downsample_ratio=1 / SHUFFLE,
        tie_word_embeddings=False,
    )


def _processor(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> InternVLProcessor:
    return InternVLProcessor(
        # the processor and swift ask for tiles whatever `crop_to_patches` says; `max_patches` stops them
        image_processor=GotOcr2ImageProcessor(size=PIXELS, crop_to_patches=False, max_patches=1),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=PIXELS),
        image_seq_length=TOKENS_PER_IMAGE,
        chat_template=chat_template,
    )


BLUEPRINT = Blueprint(dialect=DIALECT, config=_config, processor=_processor)

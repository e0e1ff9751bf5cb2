"""A tiny Gemma 3: SigLIP at 56 x 56 with patches of 7, pooled from 64 to 16 image tokens."""

from transformers import (
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from skinflow_plugins.models.tiny.blueprint import HEAD_WIDTH, Blueprint, Dialect, Size, TokenIds

SIDE = 56
PATCH = 7
TOKENS_PER_IMAGE = 16

DIALECT = Dialect(
    eos="<eos>",
    pad="<pad>",
    bos="<bos>",
    stops=("<eos>", "<end_of_turn>"),
    named={
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
    others=("<start_of_turn>",),
    words=("user", "model"),
    pieces=tuple("\n" * count for count in (1, 2, 3, 4)),  # vLLM's Gemma 3 looks them up
    chat_template="""\
{{- '<bos>' -}}
{%- for message in messages -%}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<start_of_image>' -}}
{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
""",
)


def _config(size: Size, ids: TokenIds) -> Gemma3Config:
    vision = SiglipVisionConfig(
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text = Gemma3TextConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        head_dim=HEAD_WIDTH,
        query_pre_attn_scalar=HEAD_WIDTH,
        max_position_embeddings=4096,
        sliding_window=64,
        layer_types=["sliding_attention"] * (size.depth - 1) + ["full_attention"],
        bos_token_id=ids("<bos>"),
        eos_token_id=ids("<eos>"),
        pad_token_id=ids("<pad>"),
    )
    return Gemma3Config(
        vision_config=vision,
        text_config=text,
        mm_tokens_per_image=TOKENS_PER_IMAGE,
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
        image_token_index=ids("<image_soft_token>"),
    )


def _processor(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> Gemma3Processor:
    return Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=tokenizer,
        image_seq_length=TOKENS_PER_IMAGE,
        chat_template=chat_template,
    )


BLUEPRINT = Blueprint(dialect=DIALECT, config=_config, processor=_processor)

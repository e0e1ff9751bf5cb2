"""A tiny LLaVA 1.5: CLIP at 56 x 56 with patches of 14, so 16 image tokens, and a small Llama."""

from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from skinflow_plugins.models.tiny.blueprint import Blueprint, Dialect, Size, TokenIds

SIDE = 56
PATCH = 14
FEATURES = "default"  # the class token is dropped

DIALECT = Dialect(
    eos="</s>",
    pad="<pad>",
    bos="<s>",
    stops=("</s>",),
    named={"image_token": "<image>"},
    others=(),
    words=("USER", "ASSISTANT"),
    chat_template="""\
{{- '<s>' -}}
{%- for message in messages -%}
{{- {'user': 'USER: ', 'assistant': 'ASSISTANT:'}.get(message['role'], '') -}}
{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<image>\\n' -}}
{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{- '</s>' if message['role'] == 'assistant' else '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}
""",
)


def _config(size: Size, ids: TokenIds) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=size.width,
    )
    text = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=4096,
        bos_token_id=ids("<s>"),
        eos_token_id=ids("</s>"),
        pad_token_id=ids("<pad>"),
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy=FEATURES,
        vision_feature_layer=-2,
        tie_word_embeddings=False,
    )


def _processor(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> LlavaProcessor:
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy=FEATURES,
        num_additional_image_tokens=1,
        chat_template=chat_template,
    )


BLUEPRINT = Blueprint(dialect=DIALECT, config=_config, processor=_processor)

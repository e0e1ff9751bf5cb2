"""A tiny Idefics3: 56 x 56 with patches of 7, shuffled from 64 to 16 image tokens, no tiles."""

from transformers import (
    Idefics3Config,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from skinflow_plugins.models.tiny.blueprint import Blueprint, Dialect, Size, TokenIds

SIDE = 56
PATCH = 7
SHUFFLE = 2

DIALECT = Dialect(
    eos="<|end_of_text|>",
    pad="<|reserved_special_token_0|>",
    bos="<|begin_of_text|>",
    stops=("<|end_of_text|>", "<end_of_utterance>"),
    named={},
    others=("<fake_token_around_image>", "<image>", "<global-img>"),
    words=("System", "User", "Assistant"),
    chat_template="""\
{{- '<|begin_of_text|>' -}}
{%- for message in messages -%}
{{- message['role'].capitalize() + ':' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<image>' -}}
{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{- '<end_of_utterance>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}
""",
)


def _config(size: Size, ids: TokenIds) -> Idefics3Config:
    vision = {
        "hidden_size": size.width,
        "intermediate_size": 2 * size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    text = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_value_heads,
        max_position_embeddings=4096,
        bos_token_id=ids("<|begin_of_text|>"),
        eos_token_id=ids("<|end_of_text|>"),
        pad_token_id=ids(DIALECT.pad),
    )
    return Idefics3Config(
        vision_config=vision,
        text_config=text,
        image_token_id=ids("<image>"),
        pad_token_id=ids(DIALECT.pad),
        scale_factor=SHUFFLE,
        tie_word_embeddings=False,
    )


def _processor(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> Idefics3Processor:
    images = Idefics3ImageProcessor(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False
    )
    return Idefics3Processor(
        image_processor=images,
        tokenizer=tokenizer,
        image_seq_len=(SIDE // PATCH // SHUFFLE) ** 2,
        chat_template=chat_template,
    )


BLUEPRINT = Blueprint(dialect=DIALECT, config=_config, processor=_processor)

"""The dialect that the Qwen families share: ChatML with vision markers."""

from skinflow_plugins.models.tiny.blueprint import Dialect

_OTHERS = (
    "<|im_start|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

_MESSAGES = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif part['type'] == 'text' -%}{{- part['text'] -}}{%- endif -%}
{%- endfor -%}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def chatml(*, system: str | None) -> Dialect:
    """Return the dialect, with `system` as the system message of chats that bring none."""
    default = ""
    if system is not None:
        default = (
            "{%- if messages[0]['role'] != 'system' -%}"
            f"{{{{- '<|im_start|>system\\n{system}<|im_end|>\\n' -}}}}{{%- endif -%}}\n"
        )
    return Dialect(
        eos="<|im_end|>",
        pad="<|endoftext|>",
        bos=None,
        stops=("<|im_end|>", "<|endoftext|>"),
        named={},
        others=_OTHERS,
        words=("system", "user", "assistant", *([system] if system else [])),
        chat_template=default + _MESSAGES,
    )

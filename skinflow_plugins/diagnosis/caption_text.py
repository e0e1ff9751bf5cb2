"""The part of an answer that may be a caption, or why it is none."""

from __future__ import annotations

import re

from skinflow_plugins.diagnosis.answers import answer_text

LONGEST_CAPTION = 10_000
"""Characters; anything longer is no description of one picture, and is not read at all."""

_END = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<eos>", "</s>")
_PLACEHOLDER = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|</?(?:image|img|video|vision|image_soft_token|start_of_image|end_of_image|IMG_CONTEXT)>",
    re.IGNORECASE,
)
# White space is no control character here; the others are written by nobody who describes a picture.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")


def caption_text(answer: str) -> tuple[str, str]:
    """The caption that an answer gives, and why there is none; one of the two is empty.

    The thinking of an answer is no part of its caption, and neither are the tokens that end a turn. There is
    no caption in an answer without a letter or of more than `LONGEST_CAPTION` characters, nor in one with
    null bytes or other control characters, or with tokens of images or of a chat template in it.
    """
    text = answer_text(answer)
    while text.endswith(_END):
        text = text[: text.rindex("<")].rstrip()
    if not text:
        return "", "there is no caption" + ("" if answer.strip() else ": the answer is empty")
    if len(text) > LONGEST_CAPTION:
        return "", f"not read: {len(text):,} characters, and a caption has at most {LONGEST_CAPTION:,}"
    if not any(map(str.isalpha, text)):
        return "", "there is no caption: no word is in it"
    found = _CONTROL.search(text)
    if found:
        return "", f"not read: it holds the control character {found[0]!a}"
    found = _PLACEHOLDER.search(text) if "<" in text else None
    if found:
        return "", f"not read: it holds the token {found[0]}"
    return text, ""

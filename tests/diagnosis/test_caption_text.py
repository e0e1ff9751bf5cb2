import pytest

from skinflow_plugins.diagnosis.caption_text import LONGEST_CAPTION, caption_text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (" colour: red ", "colour: red"),
        ("<think>colour: blue</think>colour: red", "colour: red"),
        ("<answer>colour: red</answer>", "colour: red"),
        ("colour: red<|im_end|>\n<|endoftext|>", "colour: red"),
        ("a red plaque</s>", "a red plaque"),
        ("red,\n\tscaly", "red,\n\tscaly"),
        ("size < 5 mm, > 2 mm", "size < 5 mm, > 2 mm"),
        ("x" * LONGEST_CAPTION, "x" * LONGEST_CAPTION),
    ],
)
def test_captions(answer: str, text: str) -> None:
    assert caption_text(answer) == (text, "")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "the answer is empty"),
        ("<think>colour: red", "there is no caption"),
        ("<|im_end|>", "there is no caption"),
        ("; ; , . - ** 12", "no word is in it"),
        ("colour: red\0", "control character '\\x00'"),
        ("colour:\x1b red", "control character '\\x1b'"),
        ("colour: red<|image_pad|>", "the token <|image_pad|>"),
        ("<|vision_start|><|image_pad|><|vision_end|> red", "the token <|vision_start|>"),
        ("<image> colour: red", "the token <image>"),
        ("colour: red<|im_end|>\n<|im_start|>user\nhello", "the token <|im_end|>"),
        ("colour: red. " * 1000, "characters, and a caption has at most 10,000"),
        ("word " * 100_000, "characters, and a caption has at most 10,000"),
        ("</s>" * 100_000, "there is no caption"),
    ],
    ids=range(13),
)
def test_what_is_no_caption(answer: str, why: str) -> None:
    text, found = caption_text(answer)
    assert text == ""
    assert why in found

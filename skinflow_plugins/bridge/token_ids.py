"""Lets swift's templates work with tokenizers whose ids are not those of the released checkpoints."""

from collections.abc import Callable, Mapping
from typing import Any


def read_token_ids_from_tokenizer() -> None:
    """Make swift's templates of the built-in families take placeholder ids from the tokenizer in use.

    swift writes the ids of the released checkpoints into its template classes, so a tokenizer of another
    size (a tiny model, an extended vocabulary) would find no place for its images. The templates of LLaVA and
    InternVL read their tokenizer, and only keep ids of the process's first one too. A released checkpoint
    gets the ids it had before. Calling this again does nothing.
    """
    from swift.template.templates.gemma import Gemma3VisionTemplate
    from swift.template.templates.idefics3 import Idefics3Template
    from swift.template.templates.internvl import InternvlhfTemplate
    from swift.template.templates.llava import LlavaHfTemplate
    from swift.template.templates.qwen import Qwen2_5VLTemplate, Qwen3VLTemplate

    qwen = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    _read_ids(Qwen2_5VLTemplate, qwen)
    _read_ids(Qwen3VLTemplate, qwen)
    _read_ids(Gemma3VisionTemplate, {"boi_token_id": "<start_of_image>"})
    _read_ids(Idefics3Template, {"image_token_id": "<image>"})
    _read_ids(LlavaHfTemplate, {"_image_token_index": "<image>"})
    _read_ids(InternvlhfTemplate, {"image_token_id": "<IMG_CONTEXT>"})
    _encode_with_own_id(Idefics3Template)


def _read_ids(template_class: Any, tokens: Mapping[str, str]) -> None:
    """Set the attributes named in `tokens` on each instance, from its tokenizer."""
    original: Callable[..., None] = template_class.init_processor
    if hasattr(original, "reads_token_ids"):
        return

    def init_processor(self: Any, processor: Any) -> None:
        # A subclass (Qwen2.5-Omni, Qwen3.5, ...) has other tokens and other ids: left alone.
        if type(self) is template_class and processor is not None and not self._processor_inited:
            # swift turns these into ids inside a list on the class, so that the first tokenizer of the
            # process would decide for all; and truncation keeps exactly the ids in this list.
            self.placeholder_tokens = list(tokens.values())
            tokenizer = getattr(processor, "tokenizer", processor)
            for attribute, token in tokens.items():
                setattr(self, attribute, tokenizer.convert_tokens_to_ids(token))
        original(self, processor)

    init_processor.reads_token_ids = True  # type: ignore[attr-defined]
    template_class.init_processor = init_processor


def _encode_with_own_id(template_class: Any) -> None:
    """Give Idefics3 an `_encode` that looks for `self.image_token_id`; swift's has the number inside."""
    original: Callable[..., dict[str, Any]] = template_class._encode
    if hasattr(original, "reads_token_ids"):
        return
    from swift.template.base import Template
    from swift.template.utils import align_image_inputs

    released_id = 128257

    def _encode(self: Any, inputs: Any) -> dict[str, Any]:
        image_token_id = getattr(self, "image_token_id", released_id)
        if image_token_id == released_id or not inputs.images:
            return original(self, inputs)  # released checkpoints run swift's own code
        encoded: dict[str, Any] = Template._encode(self, inputs)
        prompt = self.processor.decode(encoded["input_ids"])
        expanded = self.processor(
            text=prompt, images=inputs.images, return_tensors="pt", add_special_tokens=False
        )
        encoded["input_ids"], encoded["labels"] = align_image_inputs(
            encoded["input_ids"], encoded["labels"], expanded["input_ids"][0], image_token_id
        )
        encoded["pixel_values"] = expanded["pixel_values"]
        return encoded

    _encode.reads_token_ids = True  # type: ignore[attr-defined]
    template_class._encode = _encode

"""swift's templates take placeholder ids from the tokenizer, also from a second one in the same process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

from skinflow_plugins.bridge.token_ids import read_token_ids_from_tokenizer
from skinflow_plugins.models import FAMILIES, BaseFamily, build_tiny

QUESTION = "What is shown?"
VOCABULARIES = ([QUESTION], [QUESTION, "psoriasis", "eczema"])  # of two sizes, so the special ids differ


def prompt_by_swift(folder: Path, family: BaseFamily, image: Image.Image) -> tuple[Any, list[int]]:
    from swift.model import get_processor
    from swift.template import get_template

    processor = get_processor(str(folder), model_type=family.swift_model_type)
    template = get_template(processor, template_type=family.swift_template)
    row = {"messages": [{"role": "user", "content": f"<image>{QUESTION}"}], "images": [image]}
    return template, template.encode(row)["input_ids"]


def prompt_by_transformers(folder: Path, image: Image.Image) -> list[int]:
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ids: list[int] = processor(text=[text], images=[image], return_tensors="pt")["input_ids"][0].tolist()
    return ids


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_tokenizer_decides_its_own_ids(family: BaseFamily, tmp_path: Path) -> None:
    read_token_ids_from_tokenizer()
    image = Image.fromarray(np.zeros((56, 56, 3), np.uint8))
    image_ids = set()
    for index, vocabulary in enumerate(VOCABULARIES):
        folder = build_tiny(family.name, tmp_path / str(index), vocabulary=vocabulary, width=32, depth=2)
        template, ids = prompt_by_swift(folder, family, image)
        assert ids == prompt_by_transformers(folder, image)
        assert ids.count(template.config.image_token_id) == 16
        own = template.tokenizer.convert_tokens_to_ids(list(family.image_placeholders))
        # a truncated prompt keeps these
        assert own[0] in template.placeholder_tokens
        assert set(template.placeholder_tokens) <= set(own)
        image_ids.add(template.config.image_token_id)
    assert len(image_ids) == len(VOCABULARIES)


def test_a_second_call_changes_nothing() -> None:
    from swift.template.templates.idefics3 import Idefics3Template
    from swift.template.templates.qwen import Qwen2_5VLTemplate, Qwen2VLTemplate

    read_token_ids_from_tokenizer()
    before = Idefics3Template._encode, Idefics3Template.init_processor, Qwen2_5VLTemplate.init_processor
    read_token_ids_from_tokenizer()
    after = Idefics3Template._encode, Idefics3Template.init_processor, Qwen2_5VLTemplate.init_processor
    assert before == after
    assert (
        Qwen2VLTemplate.init_processor is not Qwen2_5VLTemplate.init_processor
    )  # its subclasses are left alone

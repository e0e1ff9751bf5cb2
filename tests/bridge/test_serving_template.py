"""The chat that a server makes, against the training's: every family, other templates, other arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.bridge.serving.subject import QUESTION, Order, Subject, look_up
from skinflow_plugins.bridge.serving.template import compare_templates
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.errors import InputError
from skinflow_plugins.models import FAMILIES, build_tiny

Make = Callable[..., Path]


@pytest.fixture
def trained(tmp_path: Path) -> Make:
    """`trained(family, ...)`: a checkpoint as swift leaves it after a training with these arguments."""

    def make(family: str, **arguments: Any) -> Path:
        build_tiny(family, tmp_path / "trained", vocabulary=QUESTION.split(), width=64, depth=2)
        (tmp_path / "trained" / "args.json").write_text(json.dumps({"model_type": "known", **arguments}))
        return tmp_path / "trained"

    return make


def subject_of(folder: Path) -> Subject:
    return look_up(str(folder), catalogue())


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_a_chat_is_what_the_training_saw(family: str, trained: Make) -> None:
    subject = subject_of(trained(family))
    chat, note = compare_templates(subject, Order(subject.model), catalogue())
    assert note == ""
    assert chat is not None
    images = [subject.config.get(key) for key in ("image_token_id", "image_token_index")]
    assert max(chat.ids.count(each) for each in images) >= 16


def test_a_system_message_and_a_smaller_image(trained: Make) -> None:
    folder = trained("qwen2_5_vl", system="Be brief.")
    subject = subject_of(folder)
    chat, _ = compare_templates(subject, Order(str(folder)), catalogue())
    assert chat is not None
    assert "Be brief." in chat.tokenizer.decode(chat.ids)
    (folder / "args.json").write_text(json.dumps({"max_pixels": 56 * 56}))
    with pytest.raises(InputError, match="is the first that differs"):
        compare_templates(subject, Order(str(folder)), catalogue())


def test_another_template_is_refused_with_both_texts(trained: Make, tmp_path: Path) -> None:
    folder = trained("internvl")
    file = folder / "chat_template.jinja"
    right = file.read_text()
    assert "<IMG_CONTEXT>\\n" in right
    file.write_text(right.replace("<IMG_CONTEXT>\\n", "<IMG_CONTEXT>\\n\\n"))
    (tmp_path / "right.jinja").write_text(right)
    subject = subject_of(folder)
    with pytest.raises(InputError) as caught:
        compare_templates(subject, Order(str(folder)), catalogue())
    text = str(caught.value)
    assert "is the first that differs" in text
    assert "chat:     " in text
    assert "training: " in text
    assert "--any-template" in text

    chat, note = compare_templates(subject, Order(str(folder), any_template=True), catalogue())
    assert chat is None
    assert note.startswith("the chat template is not the one of the training")
    cured = Order(str(folder), further=("--chat-template", str(tmp_path / "right.jinja")))
    assert compare_templates(subject, cured, catalogue())[1] == ""
    # Nobody trained this one with swift, so it keeps its own template.
    (folder / "args.json").unlink()
    chat, note = compare_templates(subject_of(folder), Order(str(folder)), catalogue())
    assert chat is None
    assert note.startswith("swift would train it with another template")

"""Whether the server will write a chat as the training did: before it starts, and once it runs."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.serving.chat import Chat, trained_chat
from skinflow_plugins.bridge.serving.process import Server
from skinflow_plugins.bridge.serving.subject import Order, Subject
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem, WorkFailed


def compare_templates(subject: Subject, order: Order, catalogue: Catalogue) -> tuple[Chat | None, str]:
    """The chat of the training where the server will make the same of it, and a note for the user.

    Raises `InputError` where it will not, unless --any-template was given. A checkpoint that swift never
    trained is free to have another template: then there is only a note.
    """
    if subject.family is None:
        return None, ""
    try:
        chat = trained_chat(subject, catalogue)
        difference = chat.difference(served_ids(subject, chat, order))
    except InputError:
        raise
    except Exception as error:  # a third party's family, arguments of another version of swift
        chat, difference = None, f"they could not be compared: {type(error).__name__}: {error}"
    if not difference:
        return chat, ""
    if not subject.trained:
        return None, f"swift would train it with another template: {difference}"
    message = f"the chat template is not the one of the training: {difference}"
    if not order.any_template:
        hint = (
            "give the training's as a Jinja file with -- --chat-template FILE, or serve it as it is "
            "with --any-template; answers may be worse than those of `skinflow run`"
        )
        raise InputError(Problem(message, where=subject.model, hint=hint))
    return None, message


def served_ids(subject: Subject, chat: Chat, order: Order) -> list[int]:
    """What vLLM will make of the same chat: the checkpoint's own template, or that of --chat-template.

    Raises `InputError` when the checkpoint has none.
    """
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(subject.processor)
    given = {"chat_template": _template(text)} if (text := order.value("--chat-template")) else {}
    options = json.loads(order.value("--mm-processor-kwargs") or "{}")
    messages = chat.messages({"type": "image"})
    try:
        text = processor.apply_chat_template(messages, add_generation_prompt=True, **given)
    except ValueError as error:  # no template at all
        hint = "give one with -- --chat-template FILE"
        message = f"the processor cannot write a chat: {error}"
        raise InputError(Problem(message, where=subject.model, hint=hint)) from error
    # A chat's first token is the template's to write; vLLM lets the tokenizer add none.
    batch = processor(
        text=[text], images=[chat.image], return_tensors="pt", add_special_tokens=False, **options
    )
    found: list[int] = batch["input_ids"][0].tolist()
    return found


def _template(text: str) -> str:
    """As vLLM takes it: a template, or the file of one."""
    if "{" in text:
        return text
    try:
        return Path(text).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", where=text)) from error


def confirm(server: Server, chat: Chat, name: str) -> None:
    """Ask the running server once; `WorkFailed` when it makes another prompt of it than the training."""
    picture = io.BytesIO()
    chat.image.save(picture, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
    body: dict[str, Any] = {
        "model": name,
        "messages": chat.messages({"type": "image_url", "image_url": {"url": url}}),
        "max_tokens": 1,
        "return_token_ids": True,
    }
    ids = server.post("/v1/chat/completions", body).get("prompt_token_ids")
    if ids and (difference := chat.difference(ids)):
        raise WorkFailed(f"vLLM does not make of a chat what the training did: {difference}")

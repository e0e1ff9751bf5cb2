"""One chat about one image, as the training wrote it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.bridge.serving.subject import Subject
from skinflow_plugins.catalogue import Catalogue

PHOTOGRAPH = (448, 336)
"""The size of the image with which templates are compared, outside of a run."""
OF_THE_TEMPLATE = (
    *("max_pixels", "use_chat_template", "enable_thinking", "response_prefix"),
    "template_backend",
)
"""The training's arguments that change what swift's template writes."""


@dataclass(frozen=True)
class Chat:
    """One image with the question, and the token ids that the training made of it."""

    image: Any
    question: str
    system: str
    ids: tuple[int, ...]
    tokenizer: Any

    def messages(self, image: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The messages, with `image` where the image stands."""
        content = [image, {"type": "text", "text": self.question}]
        system = {"role": "system", "content": [{"type": "text", "text": self.system}]}
        return [*([system] if self.system else []), {"role": "user", "content": content}]

    def difference(self, found: Sequence[int]) -> str:
        """Where `found` first differs from the training's ids, with both texts around it; or nothing."""
        pairs = enumerate(zip(found, self.ids, strict=False))
        at = next((place for place, (one, other) in pairs if one != other), min(len(found), len(self.ids)))
        if at == len(found) == len(self.ids):
            return ""
        return (
            f"token {at} is the first that differs, of {len(found)} and {len(self.ids)}\n"
            f"      chat:     {self._around(found, at)}\n"
            f"      training: {self._around(self.ids, at)}"
        )

    def _around(self, ids: Sequence[int], at: int) -> str:
        before, after = (self.tokenizer.decode(part) for part in (ids[max(0, at - 4) : at], ids[at : at + 6]))
        return f"{before!r} then {after!r}"


def trained_chat(subject: Subject, catalogue: Catalogue) -> Chat:
    """What swift's template of the family makes of the run's question about one image.

    Raises whatever swift raises where it does not know the family, its template or the training's arguments.
    """
    from swift.model import get_processor
    from swift.template import get_template

    from skinflow_plugins.bridge.dynamic_models import register_dynamic_models
    from skinflow_plugins.bridge.token_ids import read_token_ids_from_tokenizer

    family, told = subject.family, subject.arguments
    assert family is not None
    register_dynamic_models(catalogue)
    read_token_ids_from_tokenizer()
    kind = f"skinflow_{family.swift_model_type}" if subject.dynamic else family.swift_model_type
    processor = get_processor(subject.processor, model_type=kind)
    template = get_template(
        processor,
        subject.system or None,
        template_type=told.get("template") or family.swift_template,
        **{name: told[name] for name in OF_THE_TEMPLATE if told.get(name) is not None},
    )
    image = example_image(subject)
    messages = [{"role": "user", "content": f"<image>{subject.question}"}]
    ids = template.encode({"messages": messages, "images": [image.copy()]})["input_ids"]
    return Chat(image, subject.question, subject.system, tuple(ids), processor.tokenizer)


def example_image(subject: Subject) -> Any:
    """The first image of the run's data; without one, noise of a usual size, always the same."""
    import numpy as np
    from PIL import Image

    run = subject.source.run if subject.source else None
    for file in sorted((run / "data").glob("*.jsonl")) if run else ():
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            with file.open(encoding="utf-8") as lines:
                image = json.loads(lines.readline())["images"][0]
            return Image.open(image["path"] if isinstance(image, dict) else image).convert("RGB")
    noise = np.random.default_rng(0).integers(0, 255, (*PHOTOGRAPH[::-1], 3), dtype=np.uint8)
    return Image.fromarray(noise)

"""What a model does with one picture: the gains of its dynamic projections, and where its last token looks.

Nothing is drawn here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.dynamic import DynamicSettings, is_dynamic
from skinflow_plugins.models.dynamic.model import attribute
from skinflow_plugins.models.image_grid import ImageGrid, grid_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

    from skinflow_plugins.vision import Gains

Floats = NDArray[np.float64]

ATTENTION = {"": "eager", "text_config": "eager", "vision_config": "sdpa"}
"""`attn_implementation` for `load`: only the language model's attention is read."""


@dataclass(frozen=True)
class Question:
    """What the model is asked about every picture.

    With an `answer`, the last token is that of the answer; without, it is the prompt's, which chooses the
    first word, and up to `longest_answer` tokens are generated greedily to be shown.
    """

    prompt: str
    answer: str = ""
    system: str = ""
    longest_answer: int = 24


@dataclass(frozen=True)
class ProjectionGains:
    """The gains of one projection; each has one row per tile, and is None where the router has no such gate.

    `band` is 1 + delta_k, how much of every frequency band the projection uses.
    """

    layer: int
    projection: str
    band: Floats
    input: Floats | None
    output: Floats | None

    @property
    def name(self) -> str:
        return f"{self.layer}.{self.projection}"


@dataclass(frozen=True)
class Attention:
    """Where the last token looks: `maps` (layers, h, w), the mean over heads of its attention on every cell.

    A layer's map sums to the share of attention that the image gets; the text gets the rest.
    """

    maps: Floats
    grid: ImageGrid

    def map(self, layer: int | None = None) -> Floats:
        """The map (h, w) of one layer; None: their mean."""
        return np.asarray(self.maps.mean(axis=0) if layer is None else self.maps[layer])

    def on_image(self, layer: int | None = None) -> float:
        """The share of the attention that the image gets."""
        return float(self.map(layer).sum())

    def on_mask(self, mask: NDArray[np.bool_], layer: int | None = None) -> float:
        """The share of the image's attention that falls on the mask; evenly spread attention gives `area`."""
        found = self.map(layer)
        total = float(found.sum())
        return float((found * self.grid.covered(mask)).sum()) / total if total > 0 else 0.0

    def area(self, mask: NDArray[np.bool_]) -> float:
        """The share of the seen part of the picture that the mask covers: chance level."""
        return float(self.grid.covered(mask).mean())


@dataclass(frozen=True)
class Look:
    """What one model did with one picture; no gains where it has no dynamic projections."""

    attention: Attention
    gains: tuple[ProjectionGains, ...] = ()
    answer: str = field(default="")


def look(model: nn.Module, processor: Any, image: Image, question: Question) -> Look:
    """The gains, the attention and the answer of a model that was loaded with `ATTENTION`.

    The model is asked with the processor's own chat template, one picture at a time. Raises `InputError` when
    the processor has none, and when it cuts the picture in an unknown way.
    """
    config: Any = model.config
    text = _written(processor, question)
    batch = _batch(processor, text, image).to(model.device, getattr(model, "dtype", None))
    gains: list[ProjectionGains] = []
    rows: list[torch.Tensor] = []
    with torch.inference_mode():
        with _watching_gains(model, gains), _watching_attention(model, rows):
            model(**batch, use_cache=False)
        answer = question.answer or _greedy(model, processor, batch, question.longest_answer)
    places = (batch["input_ids"][0] == config.image_token_id).cpu()
    family = str(config.model_type).removeprefix("skinflow_")
    grid = grid_of(family, processor, batch, image.size, int(places.sum()))
    attended = np.stack([row[places].numpy() for row in rows]).astype(np.float64)
    return Look(Attention(grid.arrange(attended), grid), tuple(sorted(gains, key=_place)), answer)


def _place(gains: ProjectionGains) -> tuple[int, int]:
    return gains.layer, ("gate", "up", "down").index(gains.projection)


def _written(processor: Any, question: Question) -> str:
    messages: list[dict[str, Any]] = []
    if question.system:
        messages.append({"role": "system", "content": [{"type": "text", "text": question.system}]})
    content = [{"type": "image"}, {"type": "text", "text": question.prompt}]
    messages.append({"role": "user", "content": content})
    try:
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
    except ValueError as error:  # no template at all
        raise InputError(Problem(f"the processor cannot write a chat: {error}")) from error
    return str(text) + question.answer


def _batch(processor: Any, text: str, image: Image) -> Any:
    # A template may write the first token itself; the tokenizer must not add a second.
    first = getattr(processor.tokenizer, "bos_token", None)
    doubled = {"add_special_tokens": False} if first and text.startswith(first) else {}
    return processor(text=[text], images=[image], return_tensors="pt", **doubled)


def _greedy(model: Any, processor: Any, batch: Mapping[str, Any], longest: int) -> str:
    if longest <= 0:
        return ""
    # Sampling values of the checkpoint's generation config would be warned of.
    plain = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    tokens = model.generate(**batch, max_new_tokens=longest, **plain)
    new = tokens[0, batch["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(new, skip_special_tokens=True)).strip()


@contextlib.contextmanager
def _watching_gains(model: Any, found: list[ProjectionGains]) -> Iterator[None]:
    """Note what every router chooses while the context lasts."""
    hooks = []
    for layer, projection, router in _routers(model):

        def note(
            _: nn.Module,
            __: Any,
            chosen: Mapping[str, Gains],
            layer: int = layer,
            projection: str = projection,
        ) -> None:
            for target, gains in chosen.items():
                band, *channels = (None if gain is None else _array(gain) for gain in gains)
                assert band is not None
                found.append(ProjectionGains(layer, target or projection, 1 + band, *channels))

        hooks.append(router.register_forward_hook(note))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _routers(model: Any) -> Iterator[tuple[int, str, nn.Module]]:
    """Every router with its layer and projection; a block's router without a projection."""
    if not is_dynamic(model.config.model_type):
        return
    family, settings = model.skinflow_base, DynamicSettings.read(model.config)
    blocks = attribute(attribute(model, family.vision_tower, family), family.seam.blocks, family)
    for layer in settings.layers:
        mlp = getattr(blocks[layer], family.seam.mlp)
        if mlp.dve_router is not None:
            yield layer, "", mlp.dve_router
        else:
            for name in settings.projections:
                yield layer, name, getattr(mlp, mlp.names[name]).dve_router


@contextlib.contextmanager
def _watching_attention(model: Any, rows: list[torch.Tensor]) -> Iterator[None]:
    """Note, layer by layer, the last token's attention on every token (t), while the context lasts."""

    # Not `output_attentions`, which keeps every layer's square of all tokens, the vision tower's too.
    def note(_: nn.Module, __: Any, output: Any) -> None:
        weights = output[1]
        if weights is None:
            raise ValueError(
                "the attention gives no weights: load the model with attn_implementation=ATTENTION"
            )
        rows.append(weights[0, :, -1].float().mean(dim=0).cpu())

    hooks = [layer.self_attn.register_forward_hook(note) for layer in model.get_decoder().layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _array(gain: torch.Tensor) -> Floats:
    return gain.double().cpu().numpy()

"""Where vLLM's own class of a base family keeps the MLPs of the vision tower, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class EngineSeam:
    """What is needed to make a family's vision tower dynamic within vLLM.

    `tower` is the path from vLLM's model to the tower, `blocks` from there to its list of blocks. `linears`
    maps the projections of our seam (`gate`, `up`, `down`) to vLLM's linears, a part of a merged one as
    (name, number). `hidden_size` and `intermediate_size` of the config are not asked: the linears know.

    `images` says how the tower gets its images: `packed`, all tokens in one sequence (tokens, 1, channels)
    with `grid_thw` beside it; `rows`, (images, tokens, channels); `masked_rows`, the same with padding and an
    additive `attention_mask` for every block.

    `renamed` is a regular expression and its replacement, for weights whose names vLLM does not know.
    `image_tokens_see_all` where the language model's attention within an image has no direction; vLLM has a
    list of model types for that.
    """

    tower: str
    blocks: str
    linears: Mapping[str, str | tuple[str, int]] = field(hash=False)
    images: Literal["packed", "rows", "masked_rows"]
    mlp: str = "mlp"
    renamed: tuple[str, str] | None = None
    image_tokens_see_all: bool = False


def _rows(
    tower: str,
    blocks: str,
    images: Literal["rows", "masked_rows"] = "rows",
    **more: Any,
) -> EngineSeam:
    linears = {"up": "fc1", "down": "fc2"}
    return EngineSeam(tower=tower, blocks=blocks, linears=linears, images=images, **more)


# transformers 5 took the level `vision_model` out of these towers, and vLLM 0.32 still has it.
_DEEPER = (r"^(model\.)?vision_tower\.(?!vision_model\.)", r"\1vision_tower.vision_model.")


ENGINE_SEAMS: Mapping[str, EngineSeam] = MappingProxyType(
    {
        "qwen2_5_vl": EngineSeam(
            tower="visual",
            blocks="blocks",
            linears={"gate": ("gate_up_proj", 0), "up": ("gate_up_proj", 1), "down": "down_proj"},
            images="packed",
        ),
        "qwen3_vl": EngineSeam(
            tower="visual",
            blocks="blocks",
            linears={"up": "linear_fc1", "down": "linear_fc2"},
            images="packed",
        ),
        "llava": _rows("vision_tower", "vision_model.encoder.layers", renamed=_DEEPER),
        "gemma3": _rows(
            "vision_tower", "vision_model.encoder.layers", renamed=_DEEPER, image_tokens_see_all=True
        ),
        "idefics3": _rows("model.vision_model", "encoder.layers", "masked_rows"),
        "internvl": _rows("vision_tower", "encoder.layer"),
    }
)
"""By the name of the base family."""

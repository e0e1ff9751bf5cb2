"""The two models whose towers are timed, in their real sizes and tiny, as transformers' configs; no weights.

Sources: for Qwen/Qwen2.5-VL-7B-Instruct a published listing of its modules and the defaults of transformers'
config classes, for Qwen/Qwen3-VL-4B-Instruct public copies of its `config.json`; the hub itself was not
reachable. The MLPs of the latter's tower are 1024 -> 4096; those of Qwen3-VL-8B are 1152 -> 4304.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import transformers

from skinflow_plugins.models.families import BaseFamily, family_named

IDS = {"image_token_id": 10, "video_token_id": 11, "vision_start_token_id": 12, "vision_end_token_id": 13}
"""Where they stand in the vocabulary plays no part here."""


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A model: `vision` and `text` are entries of its config; `layers` those that recipes make dynamic."""

    name: str
    family_name: str
    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    layers: str | tuple[int, ...]
    tied: bool

    @property
    def family(self) -> BaseFamily:
        """Our description of its family."""
        found = family_named(self.family_name)
        assert found is not None
        return found

    def config(self) -> Any:
        """The config of the whole model."""
        made = getattr(transformers, self.family.architectures[0]).config_class
        return made(
            vision_config=dict(self.vision), text_config=dict(self.text), tie_word_embeddings=self.tied, **IDS
        )


def _rope(theta: float, section: list[int], **more: Any) -> dict[str, Any]:
    return {
        "rope_parameters": {"rope_type": "default", "rope_theta": theta, "mrope_section": section, **more}
    }


QWEN2_5_VL_7B = ModelSize(
    name="Qwen2.5-VL-7B",
    family_name="qwen2_5_vl",
    vision={
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "out_hidden_size": 3584,
    },
    text={
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128000,
        **_rope(1e6, [16, 24, 24]),
    },
    layers="full_attention",
    tied=False,
)
QWEN3_VL_4B = ModelSize(
    name="Qwen3-VL-4B",
    family_name="qwen3_vl",
    vision={
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "patch_size": 16,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
        "out_hidden_size": 2560,
    },
    text={
        "vocab_size": 151936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        **_rope(5e6, [24, 20, 20], mrope_interleaved=True),
    },
    layers="quarters",
    tied=True,
)

_TINY_VISION = {
    "depth": 4,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_heads": 2,
    "out_hidden_size": 96,
}
_TINY_TEXT = {
    "vocab_size": 128,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "bos_token_id": None,
    "eos_token_id": None,
}


def tiny(size: ModelSize) -> ModelSize:
    """The same model small enough for a test on a CPU; says nothing about speed."""
    chosen = "fullatt_block_indexes" if "fullatt_block_indexes" in size.vision else "deepstack_visual_indexes"
    rope = {"rope_parameters": {**size.text["rope_parameters"], "mrope_section": [8, 4, 4]}}
    head = {"head_dim": 32} if "head_dim" in size.text else {}
    vision, text = {**size.vision, **_TINY_VISION, chosen: [1, 3]}, {**_TINY_TEXT, **rope, **head}
    return replace(size, name=f"{size.name}, tiny", vision=vision, text=text)


def quarter(size: ModelSize) -> ModelSize:
    """The model with a quarter of its tower, of which the last block is dynamic: for a CPU.

    The quarters of a tower are alike, so that ratios are those of the whole, but for patches and merger.
    """
    depth = size.vision["depth"] // 4
    chosen = "fullatt_block_indexes" if "fullatt_block_indexes" in size.vision else "deepstack_visual_indexes"
    vision = {**size.vision, "depth": depth, chosen: [depth - 1]}
    return replace(size, name=f"{size.name}, a quarter", vision=vision, layers=(depth - 1,))


SIZES = (QWEN2_5_VL_7B, QWEN3_VL_4B)
MADE: dict[str, Callable[[ModelSize], ModelSize]] = {
    "real": lambda size: size,
    "quarter": quarter,
    "tiny": tiny,
}

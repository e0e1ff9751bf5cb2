"""Where a family's vision tower can be made dynamic, as plain data; nothing is imported to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

ROUTER = "dve_router"
"""The name of every router module, and so a part of the name of every router parameter."""

LAYER_NAMES = ("full_attention", "quarters")
"""What `layers` may say instead of numbers."""

DynamicLayers = str | Sequence[int]


@dataclass(frozen=True, kw_only=True)
class VisionSeam:
    """What is needed to make the MLPs of a vision tower image-dependent.

    `blocks` is the path from the tower to its list of blocks and `mlp` the name of a block's MLP.
    `projections` maps `up`, `down` and, in a gated MLP, `gate` to the names of its linears; `activation` is
    the name of its activation. `depth` is the vision config's entry for the number of blocks.

    `images` says how a block can tell images apart:
    `packed`, the images stand one after another in (tokens, channels) and the block is given `cu_seqlens`,
    which in full-attention blocks counts the tokens of each image;
    `rows`, each row of (images, tokens, channels) is an image whose tokens all count;
    `masked_rows`, the same with padding, which the block's `attention_mask` marks.
    A tower whose blocks are none of these names a mix-in for its block class, `package.module:Class`.

    `full_attention` is the vision config's entry with the numbers of the blocks that have full attention;
    None when all do. `feature_layer` is the model config's entry with the hidden state that the language
    model reads; None when it is the last.
    """

    blocks: str
    mlp: str = "mlp"
    projections: Mapping[str, str] = field(hash=False)
    activation: str
    depth: str
    images: Literal["packed", "rows", "masked_rows"] | str
    full_attention: str | None = None
    feature_layer: str | None = None

    def layers(self, config: Any, wanted: DynamicLayers) -> tuple[int, ...]:
        """The numbers, from 0, of the blocks that `wanted` names, in a model of this `config`.

        `full_attention` are all blocks with full attention; `quarters` the last block of each quarter of the
        tower, where the paper has them in Qwen2.5-VL (8, 16, 24, 32 counted from 1). Blocks whose output
        nobody reads are never among them.

        Raises `ValueError` for unknown words and numbers, for blocks that attend within windows, and for
        blocks that nobody reads.
        """
        depth = int(getattr(config.vision_config, self.depth))
        used = self._used(config, depth)
        full = list(range(depth))
        if self.full_attention is not None:
            full = sorted(getattr(config.vision_config, self.full_attention))
        if wanted == "full_attention":
            return tuple(number for number in full if number < used)
        if wanted == "quarters":
            ends = sorted({max(used * quarter // 4, 1) - 1 for quarter in (1, 2, 3, 4)})
            return tuple(number for number in ends if number in full)
        if isinstance(wanted, str) or not wanted or not all(type(number) is int for number in wanted):
            words = " or ".join(map(repr, LAYER_NAMES))
            raise ValueError(f"found {wanted!r}; expected {words}, or numbers from 0 to {used - 1}")
        for number in wanted:
            if not 0 <= number < depth:
                raise ValueError(f"there is no layer {number}; the vision tower has 0 to {depth - 1}")
            if number >= used:
                raise ValueError(
                    f"nobody reads what layer {number} gives: the language model is shown the output of "
                    f"layer {used - 1}"
                )
            if number not in full:
                raise ValueError(
                    f"layer {number} attends within windows and is not told which tokens belong to which "
                    f"image; layers with full attention: {', '.join(map(str, full))}"
                )
        if len(set(wanted)) < len(wanted):
            raise ValueError(f"found one layer twice: {list(wanted)}")
        return tuple(sorted(wanted))

    def _used(self, config: Any, depth: int) -> int:
        """How many blocks, from the first, lead to what the language model reads."""
        if self.feature_layer is None:
            return depth
        found = getattr(config, self.feature_layer)
        states = [found] if isinstance(found, int) else list(found)
        # Hidden state 0 is the input of the first block.
        return max(state if state >= 0 else depth + 1 + state for state in states)

    def chosen(self, wanted: str | Sequence[str]) -> tuple[str, ...]:
        """The projections that `wanted` names (`all`, or some), in the order in which the MLP uses them.

        Raises `ValueError` for names that this MLP does not have.
        """
        known = [name for name in ("gate", "up", "down") if name in self.projections]
        if wanted == "all":
            return tuple(known)
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            found = ", ".join(map(repr, unknown)) or "none"
            raise ValueError(f"found {found}; this vision tower has {', '.join(known)} (or: all)")
        return tuple(name for name in known if name in names)


PACKED_GATED = VisionSeam(
    blocks="blocks",
    projections={"gate": "gate_proj", "up": "up_proj", "down": "down_proj"},
    activation="act_fn",
    depth="depth",
    images="packed",
    full_attention="fullatt_block_indexes",
)
"""Qwen2.5-VL's tower."""

PACKED = VisionSeam(
    blocks="blocks",
    projections={"up": "linear_fc1", "down": "linear_fc2"},
    activation="act_fn",
    depth="depth",
    images="packed",
)
"""Qwen3-VL's tower."""


def rows(
    *,
    blocks: str = "encoder.layers",
    images: Literal["rows", "masked_rows"] = "rows",
    feature_layer: str | None = None,
) -> VisionSeam:
    """The seam of towers in the manner of CLIP and SigLIP."""
    return VisionSeam(
        blocks=blocks,
        projections={"up": "fc1", "down": "fc2"},
        activation="activation_fn",
        depth="num_hidden_layers",
        images=images,
        feature_layer=feature_layer,
    )

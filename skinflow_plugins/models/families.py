"""The base model families that the framework knows, without importing any of them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from skinflow_plugins.models import seam as seams
from skinflow_plugins.models.seam import VisionSeam


@dataclass(frozen=True, kw_only=True)
class BaseFamily:
    """What the framework must know about one family of vision language models.

    `image_placeholders` are the tokens a prompt may hold in the place of pixels, the image's own first.
    `vision_tower` is the attribute path from the top-level model to the tower.
    `hub_ids` is a regular expression that matches the whole repository name (without the owner), in any case;
    by default none. `seam` says how the tower is made dynamic; None: it cannot be.
    """

    name: str
    summary: str
    hf_model_type: str
    architectures: tuple[str, ...]
    swift_model_type: str
    swift_template: str
    image_placeholders: tuple[str, ...]
    vision_tower: str
    hub_ids: str = r"(?!)"
    seam: VisionSeam | None = None


FAMILIES: tuple[BaseFamily, ...] = (
    BaseFamily(
        name="qwen2_5_vl",
        summary="Qwen2.5-VL: native resolution, window attention with a few full blocks, gated MLP",
        hf_model_type="qwen2_5_vl",
        architectures=("Qwen2_5_VLForConditionalGeneration",),
        swift_model_type="qwen2_5_vl",
        swift_template="qwen2_5_vl",
        image_placeholders=("<|image_pad|>", "<|video_pad|>"),
        vision_tower="model.visual",
        hub_ids=r"qwen2\.5-vl-\d+b.*",
        seam=seams.PACKED_GATED,
    ),
    BaseFamily(
        name="qwen3_vl",
        summary="Qwen3-VL (dense): native resolution, full attention, tower features for several LLM layers",
        hf_model_type="qwen3_vl",
        architectures=("Qwen3VLForConditionalGeneration",),
        swift_model_type="qwen3_vl",
        swift_template="qwen3_vl",
        image_placeholders=("<|image_pad|>", "<|video_pad|>"),
        vision_tower="model.visual",
        hub_ids=r"qwen3-vl-\d+b-(?!a\d).*",  # 30B-A3B and 235B-A22B are of the type qwen3_vl_moe
        seam=seams.PACKED,
    ),
    BaseFamily(
        name="llava",
        summary="LLaVA 1.5: a CLIP tower at one resolution, a two-layer projector, Llama",
        hf_model_type="llava",
        architectures=("LlavaForConditionalGeneration",),
        swift_model_type="llava1_5_hf",
        swift_template="llava1_5_hf",
        image_placeholders=("<image>",),
        vision_tower="model.vision_tower",
        hub_ids=r"llava-1\.5-\d+b-hf",
        seam=seams.rows(feature_layer="vision_feature_layer"),
    ),
    BaseFamily(
        name="gemma3",
        summary="Gemma 3 and MedGemma with images: a SigLIP tower at one resolution, pooled to 256 tokens",
        hf_model_type="gemma3",
        architectures=("Gemma3ForConditionalGeneration",),
        swift_model_type="gemma3_vision",
        swift_template="gemma3_vision",
        image_placeholders=("<start_of_image>", "<image_soft_token>"),
        vision_tower="model.vision_tower",
        hub_ids=r"(gemma-3-(4|12|27)b|medgemma-(1\.5-)?(4|27)b)-(it|pt).*",
        seam=seams.rows(),
    ),
    BaseFamily(
        name="idefics3",
        summary="Idefics3 and the first SmolVLM: a SigLIP tower, pixel shuffle, large images cut into tiles",
        hf_model_type="idefics3",
        architectures=("Idefics3ForConditionalGeneration",),
        swift_model_type="idefics3",
        swift_template="idefics3",
        image_placeholders=("<image>",),
        vision_tower="model.vision_model",
        hub_ids=r"idefics3-8b.*|smolvlm-(256m-|500m-)?(instruct|base|synthetic)",  # SmolVLM2 is `smolvlm`
        seam=seams.rows(images="masked_rows"),
    ),
    BaseFamily(
        name="internvl",
        summary="InternVL (the -hf repositories): InternViT, pixel shuffle, large images cut into tiles",
        hf_model_type="internvl",
        architectures=("InternVLForConditionalGeneration",),
        swift_model_type="internvl",
        swift_template="internvl_hf",
        image_placeholders=("<IMG_CONTEXT>", "<video>"),
        vision_tower="model.vision_tower",
        hub_ids=r"internvl(2_5|3|3_5)-\d+b(-.*)?-hf",  # without -hf the code is in the repository
        seam=seams.rows(blocks="encoder.layer", feature_layer="vision_feature_layer"),
    ),
)


def families() -> tuple[BaseFamily, ...]:
    """The built-in base families; those of other packages are in the catalogue."""
    return FAMILIES


def family_named(name: str) -> BaseFamily:
    """Return the built-in family of this name; ValueError names the nearest known one."""
    for family in FAMILIES:
        if family.name == name:
            return family
    known = [family.name for family in FAMILIES]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known families: {', '.join(known)}"
    raise ValueError(f"unknown base model family {name!r}; {hint}")


def family_of(
    model: str | Path | Mapping[str, Any], families: Sequence[BaseFamily] = FAMILIES
) -> BaseFamily | None:
    """Return the family of a checkpoint folder, or of the content of its config.json; None when unknown.

    FileNotFoundError when the folder has no config.json.
    """
    if isinstance(model, Mapping):
        config = model
    else:
        path = Path(model) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist; expected a checkpoint folder in Hugging Face's layout"
            )
        config = json.loads(path.read_text(encoding="utf-8"))
    return next((family for family in families if family.hf_model_type == config.get("model_type")), None)


def family_of_hub_id(hub_id: str, families: Sequence[BaseFamily] = FAMILIES) -> BaseFamily | None:
    """Return the family that a hub id such as `Qwen/Qwen2.5-VL-7B-Instruct` tells; None when it tells none.

    Only names in common use are read; the checkpoint's config.json (`family_of`) has the last word.
    """
    name = hub_id.rsplit("/", 1)[-1]
    matches = (family for family in families if re.fullmatch(family.hub_ids, name, re.IGNORECASE))
    return next(matches, None)

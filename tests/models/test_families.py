"""Families are recognised by config.json and by well-known hub ids, without importing torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skinflow_plugins.models import FAMILIES, family_named, family_of, family_of_hub_id


def test_names_are_unique() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_family_of_a_config_and_of_a_folder(family, tmp_path: Path) -> None:
    config = {"model_type": family.hf_model_type}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert family_of(config) is family
    assert family_of(tmp_path) is family
    assert family_of(str(tmp_path)) is family


def test_family_of_unknown_and_missing(tmp_path: Path) -> None:
    assert family_of({"model_type": "bert"}) is None
    assert family_of({}) is None
    with pytest.raises(FileNotFoundError, match=r"config\.json does not exist; expected a checkpoint folder"):
        family_of(tmp_path)


@pytest.mark.parametrize(
    ("hub_id", "name"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl"),
        ("Qwen/Qwen2.5-VL-32B-Instruct-AWQ", "qwen2_5_vl"),
        ("unsloth/qwen2.5-vl-3b-instruct", "qwen2_5_vl"),
        ("Qwen/Qwen3-VL-4B-Instruct", "qwen3_vl"),
        ("Qwen/Qwen3-VL-8B-Thinking-FP8", "qwen3_vl"),
        ("llava-hf/llava-1.5-7b-hf", "llava"),
        ("google/gemma-3-4b-it", "gemma3"),
        ("google/medgemma-4b-it", "gemma3"),
        ("google/medgemma-1.5-4b-it", "gemma3"),
        ("HuggingFaceM4/Idefics3-8B-Llama3", "idefics3"),
        ("HuggingFaceTB/SmolVLM-256M-Instruct", "idefics3"),
        ("HuggingFaceTB/SmolVLM-Instruct", "idefics3"),
        ("OpenGVLab/InternVL3-1B-hf", "internvl"),
        ("OpenGVLab/InternVL3_5-8B-HF", "internvl"),
        ("OpenGVLab/InternVL3_5-30B-A3B-HF", "internvl"),
        ("OpenGVLab/InternVL2_5-2B-MPO-hf", "internvl"),
        # near misses: another architecture behind a similar name
        ("Qwen/Qwen2-VL-7B-Instruct", None),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", None),
        ("Qwen/Qwen3-VL-Embedding-2B", None),
        ("llava-hf/llava-v1.6-mistral-7b-hf", None),
        ("google/gemma-3-1b-it", None),
        ("google/gemma-3n-E4B-it", None),
        ("google/medgemma-27b-text-it", None),
        ("HuggingFaceTB/SmolVLM2-2.2B-Instruct", None),
        ("OpenGVLab/InternVL3-1B", None),
        ("OpenGVLab/InternVL3_5-8B-Instruct", None),
        ("OpenGVLab/InternVL3_5-GPT-OSS-20B-A4B-Preview-HF", None),
    ],
)
def test_family_of_hub_id(hub_id: str, name: str | None) -> None:
    family = family_of_hub_id(hub_id)
    assert (family.name if family else None) == name


def test_an_unknown_name_gets_the_nearest_one() -> None:
    assert family_named("gemma3").name == "gemma3"
    with pytest.raises(ValueError, match="unknown base model family 'qwen25_vl'; did you mean 'qwen2_5_vl'"):
        family_named("qwen25_vl")


def test_importing_families_imports_no_torch() -> None:
    code = (
        "import sys; from skinflow_plugins.models import family_of, FAMILIES; "
        "sys.exit(' '.join({'torch', 'transformers', 'swift'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""A base model family out of somebody's package: listed, held to its contract, made dynamic."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForImageTextToText,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.models import load, register
from skinflow_plugins.models.encoders import dve
from skinflow_plugins.models.tiny import gemma3
from skinflow_plugins.models.tiny.tokenizer import word_tokenizer
from skinflow_plugins.testing import check_base_model, check_vision_encoder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained PaliGemma for images of 56 x 56."""
    out = tmp_path_factory.mktemp("tiny") / "paligemma"
    dialect = replace(gemma3.DIALECT, named={"image_token": "<image>"})
    tokenizer = word_tokenizer(["What is shown?"], dialect)
    images = SiglipImageProcessor(size={"height": 56, "width": 56})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, tokenizer)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
            vision_use_head=False,
        ),
        text_config=GemmaConfig(
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            vocab_size=len(processor.tokenizer),
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_id=processor.image_token_id,
        projection_dim=64,
    )
    for part in (config, config.vision_config, config.text_config):
        part.initializer_range = 0.1
    torch.manual_seed(0)
    PaliGemmaForConditionalGeneration(config).save_pretrained(out)
    processor.save_pretrained(out)
    return out


@pytest.mark.usefixtures("third_party")
def test_it_is_listed_and_shown(skinflow: Callable[..., Any]) -> None:
    assert re.search(
        r"^paligemma +skinflow-family +PaliGemma: ", skinflow("list", "base_models").out, re.MULTILINE
    )
    shown = skinflow("show", "paligemma").out
    assert shown.startswith("base model paligemma, from skinflow-family\n")


@pytest.mark.usefixtures("third_party")
def test_it_keeps_its_contract(tiny: Path) -> None:
    family = catalogue().get("base_models", "paligemma")
    check_base_model(family, tiny)
    check_vision_encoder(dve, tiny, family=family)


@pytest.mark.usefixtures("third_party")
def test_it_can_be_grafted_and_whoever_lacks_the_package_does_not_open_it(
    tiny: Path, skinflow: Callable[..., Any], tmp_path: Path
) -> None:
    done = skinflow("graft", tiny, tmp_path / "out")
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == "skinflow_paligemma"
    register([entry.value for entry in catalogue().table("base_models").values()])
    model = load(tmp_path / "out")
    assert type(model).__name__ == "SkinflowPaliGemmaForConditionalGeneration"
    state = model.state_dict()
    plain = AutoModelForImageTextToText.from_pretrained(tiny).state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.items())

    stranger = "import sys; from skinflow_plugins.models import load; load(sys.argv[1])"
    command = [sys.executable, "-c", stranger, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "skinflow_paligemma" in done.stderr

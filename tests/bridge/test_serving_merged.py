"""Adapters of dynamic models, merged once; a folder that is not ours stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from skinflow_plugins.bridge.checkpoint_source import find, open_source
from skinflow_plugins.bridge.serving import merged as module
from skinflow_plugins.bridge.serving.merged import fingerprint, merged
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.errors import InputError
from skinflow_plugins.models import load


@pytest.fixture(scope="module")
def dve(lab: Any) -> Path:
    """A dynamic model whose routers do something."""
    folder: Path = lab.model("random")
    return folder


def adapter(base: Path, out: Path, seed: int = 0) -> Path:
    """A LoRA adapter of a dynamic model that changes what it computes."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=2, target_modules=r".*language_model.*q_proj", init_lora_weights=False)
    get_peft_model(load(base), config).save_pretrained(out)
    told = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": str(base)}))
    return out


def logits(model: Any, processor: Any) -> torch.Tensor:
    text = "<|vision_start|><|image_pad|><|vision_end|>What is shown?"
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (84, 112, 3), dtype=np.uint8))
    batch = processor(text=[text], images=[picture], return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits


def test_an_adapter_is_merged_once(dve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source, said = find(adapter(dve, tmp_path / "adapter")), []
    out = merged(source, catalogue(), said.append)
    assert out.parent == tmp_path / "cache/skinflow/merged"
    model, processor = open_source(source, catalogue())
    expected = logits(model, processor)
    assert (logits(load(out), processor) - expected).abs().max() < 1e-5
    assert (logits(load(dve), processor) - expected).abs().max() > 1e-3  # there was something to merge
    assert (out / "tokenizer.json").is_file()

    before = (out / "merged.json").stat().st_mtime_ns
    assert merged(source, catalogue(), said.append) == out
    assert (out / "merged.json").stat().st_mtime_ns == before
    assert [line.partition(" /")[0] for line in said] == [
        "merging the adapter into",
        "the adapter was merged before:",
    ]
    # Other weights are another model; a folder that is none stays as it is.
    adapter(dve, tmp_path / "adapter", seed=1)
    other = out.parent / f"adapter-{fingerprint(source)[:12]}"
    assert other != out
    other.mkdir()
    (other / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="nothing was touched"):
        merged(source, catalogue(), said.append)
    assert sorted(out.parent.iterdir()) == sorted([out, other])


def test_the_merged_model_of_a_run_stands_in_it(dve: Path, tmp_path: Path) -> None:
    recipe = {"name": "try", "stages": [{"name": "diagnosis"}]}
    found = adapter(dve, tmp_path / "run/stages/1-diagnosis/checkpoint-8")
    (tmp_path / "run/run.json").write_text(json.dumps({"recipe": recipe}))
    out = merged(find(found), catalogue(), lambda _: None)
    assert out.parent == tmp_path / "run/merged"
    assert out.name.startswith("1-diagnosis-checkpoint-8-")
    assert not list((tmp_path / "run/stages/1-diagnosis").glob("checkpoint-8?*"))


def test_a_merge_that_fails_leaves_nothing(
    dve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "open_source", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        merged(find(adapter(dve, tmp_path / "adapter")), catalogue(), lambda _: None)
    assert not list((tmp_path / "cache/skinflow/merged").iterdir())

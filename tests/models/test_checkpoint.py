"""What a folder must hold before it is opened, and what is taken away once newer weights are in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from skinflow_plugins.errors import InputError
from skinflow_plugins.models import DynamicSettings, load
from skinflow_plugins.models.dynamic.checkpoint import (
    check,
    manifest,
    remove_stale,
    stale_weights,
    weight_files,
)

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"


@pytest.fixture
def folder(stirred: Callable[..., Path], tmp_path: Path) -> Path:
    """A graft of this test's own that stands alone."""
    return Path(shutil.copytree(stirred("qwen2_5_vl", link="copy"), tmp_path / "graft"))


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(folder)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------------
# Tensors


@pytest.mark.parametrize("end", ["up_proj.dve_router.band_weight", "gate_proj.dve_router.reduce_weight"])
def test_a_router_tensor_is_missing(folder: Path, end: str) -> None:
    tensors, index = load_file(folder / "dve.safetensors"), json.loads((folder / INDEX).read_text())
    (key,) = (key for key in tensors if key.endswith(end))
    del tensors[key], index["weight_map"][key]
    save_file(tensors, folder / "dve.safetensors", metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps(index))
    (folder / "graft.json").unlink()
    found = refusal(folder)
    named = f"model.{key.removeprefix('model.')}"  # the base has old names, or new ones once swift was met
    assert f"{folder}: the checkpoint lacks 1 tensors of its dynamic projections: {named}" in found
    assert "graft its base anew" in found


def test_all_router_tensors_are_missing(folder: Path) -> None:
    """As after a program that kept only what it knew."""
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if v != "dve.safetensors"}
    (folder / INDEX).write_text(json.dumps(index))
    assert "lacks 24 tensors of its dynamic projections" in refusal(folder)
    assert "and 20 more" in refusal(folder)


def test_the_weight_of_a_projection_is_missing_in_a_saved_checkpoint(folder: Path, tmp_path: Path) -> None:
    load(folder).save_pretrained(tmp_path / "saved")
    tensors = load_file(tmp_path / "saved" / SINGLE)
    del tensors["model.visual.blocks.2.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "saved" / SINGLE, metadata={"format": "pt"})
    assert "lacks 1 tensors of its dynamic projections: model.visual.blocks.2.mlp.up_proj.weight" in refusal(
        tmp_path / "saved"
    )


def test_a_manifest_of_another_format(folder: Path) -> None:
    path = folder / "graft.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 9}))
    assert "graft.json: is of format 9; this skinflow-plugins reads 1" in refusal(folder)


def test_routers_without_a_place_are_no_small_matter(folder: Path) -> None:
    """transformers would leave them out with a warning."""
    change_config(folder, lambda config: config["dve"].update(projections=["up"]))
    found = refusal(folder)
    assert "holds 16 tensors without a place among its dynamic projections" in found
    assert "gate_proj.dve_router" in found or "down_proj.dve_router" in found


def test_frozen_bases_are_missing(stirred: Callable[..., Path], tmp_path: Path) -> None:
    load(stirred("llava", frozen_bases=True)).save_pretrained(tmp_path / "saved")
    tensors = load_file(tmp_path / "saved" / SINGLE)
    kept = {key: value for key, value in tensors.items() if not key.endswith("base_weight")}
    assert len(tensors) - len(kept) == 4
    save_file(kept, tmp_path / "saved" / SINGLE, metadata={"format": "pt"})
    assert "lacks 4 tensors" in refusal(tmp_path / "saved")
    assert "base_weight" in refusal(tmp_path / "saved")


def test_names_of_the_modules_are_saved(folder: Path, tmp_path: Path) -> None:
    """transformers would write the old ones, which its Trainer cannot resume from."""
    model = load(folder)
    model.save_pretrained(tmp_path / "saved")
    assert set(load_file(tmp_path / "saved" / SINGLE)) == set(model.state_dict())


def test_the_loading_info_is_still_to_be_had(folder: Path) -> None:
    from transformers import AutoModelForImageTextToText

    load(folder)
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.dve["bands"] == 4


# ------------------------------------------------------------------------------------------------------------
# The block `dve` of the config


def test_no_block(folder: Path) -> None:
    change_config(folder, lambda config: config.pop("dve"))
    assert "the config of a skinflow_qwen2_5_vl model needs a block `dve`, found None" in refusal(folder)


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_format(folder: Path, version: Any) -> None:
    change_config(folder, lambda config: config["dve"].update(format=version))
    found = refusal(folder)
    assert f"dve.format is {version!r}; this version of skinflow-plugins reads 1" in found
    assert "install the version that wrote the checkpoint" in found


def test_unknown_and_missing_keys_all_at_once(folder: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["dve"]["band"] = config["dve"].pop("bands")
        del config["dve"]["layers"]

    change_config(folder, change)
    found = refusal(folder)
    assert "config.json: dve: unknown key 'band'; did you mean 'bands'?" in found
    assert "is missing 'layers'" in found
    assert "is missing 'bands'" in found


def test_layers_that_the_tower_has_not(folder: Path) -> None:
    change_config(folder, lambda config: config["dve"].update(layers=[7]))
    assert "there is no layer 7 in model.visual.blocks; it has 3" in refusal(folder)


def test_settings_survive_the_config(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    settings = DynamicSettings.read(model.config)
    assert (settings.layers, settings.projections, settings.bands) == ((2,), ("gate", "up", "down"), 4)
    assert all(len(keys) == 3 for keys in settings.thresholds.values())
    model.config.save_pretrained(tmp_path)
    assert DynamicSettings.read(AutoConfig.from_pretrained(tmp_path)) == settings
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()


def test_a_checkpoint_keeps_its_bands_whatever_the_rule_becomes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {k: v.thresholds for k, v in load(folder).named_modules() if hasattr(v, "thresholds")}
    monkeypatch.setattr("skinflow_plugins.vision.projection.band_thresholds", lambda *_: (1, 2, 3))
    assert {k: v.thresholds for k, v in load(folder).named_modules() if hasattr(v, "thresholds")} == expected


# ------------------------------------------------------------------------------------------------------------
# Files


def test_manifest_and_files(folder: Path, tmp_path: Path, bases: Mapping[str, Path]) -> None:
    found = manifest(folder)
    assert found is not None
    assert found["base"] == str(bases["qwen2_5_vl"])
    assert found["link"] == "copy"
    assert weight_files(folder) == ["base-00001-of-00001.safetensors", "dve.safetensors"]
    assert manifest(tmp_path) is None
    assert weight_files(tmp_path) == []
    check(tmp_path)
    check(folder)


def test_the_routers_file_is_missing(folder: Path) -> None:
    (folder / "dve.safetensors").unlink()
    assert "dve.safetensors is missing" in refusal(folder)


@pytest.mark.parametrize("name", [INDEX, "graft.json"])
def test_files_that_are_no_json(folder: Path, name: str) -> None:
    (folder / name).write_text("{")
    assert f"{folder / name}: cannot be read: " in refusal(folder)
    (folder / name).write_text("{}")
    assert f"{folder / name}: has no object " in refusal(folder)


def test_stale_files_go_only_when_weights_were_written(folder: Path, tmp_path: Path) -> None:
    (folder / "mine.safetensors").write_bytes(b"")
    before = stale_weights(folder)
    names = {path.name for path in folder.iterdir()}
    remove_stale(folder, before)  # as when only an adapter was written
    assert {path.name for path in folder.iterdir()} == names
    (folder / SINGLE).write_bytes(b"new")
    remove_stale(folder, before)
    gone = {INDEX, "graft.json", "dve.safetensors", "base-00001-of-00001.safetensors"}
    assert {path.name for path in folder.iterdir()} == (names - gone) | {SINGLE}
    assert stale_weights(tmp_path / "nowhere") == {}


def test_other_processes_remove_nothing(folder: Path) -> None:
    """In a run of several, the first alone writes."""
    names = {path.name for path in folder.iterdir()}
    load(folder).save_pretrained(folder, is_main_process=False)
    assert {path.name for path in folder.iterdir()} >= names - {SINGLE}
    assert (folder / "graft.json").exists()


def test_from_one_file_to_shards_and_back(folder: Path, tmp_path: Path) -> None:
    model, out = load(folder), tmp_path / "saved"
    for size in ("1GB", "300KB", "500KB", "1GB"):
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.01)
        model.save_pretrained(out, max_shard_size=size)
        again = load(out).state_dict()
        assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())
    assert {path.name for path in out.glob("model*")} == {SINGLE}

"""`skinflow show dve CHECKPOINT`, on tiny models that were grafted here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skinflow_plugins.cli import show_dve
from skinflow_plugins.models import build_tiny, graft

FILES = ["attention.png", "attention_last_layer.png", "dve.json", "gains.png"]
Skinflow = Callable[..., Any]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small drawings instead of four large ones; nothing here depends on more."""
    monkeypatch.setattr(show_dve, "DRAWN", 2)
    monkeypatch.setattr(show_dve, "DRAWN_SIZE", 112)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and `dve`, which is grafted upon it."""
    root = tmp_path_factory.mktemp("models")
    build_tiny("qwen2_5_vl", root / "base", vocabulary=["name", "it"], width=64, depth=2)
    graft(root / "base", root / "dve")
    return root


@pytest.fixture(scope="module")
def run(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with two finished stages and one that is not."""
    root = tmp_path_factory.mktemp("runs") / "try"
    graft(models / "base", root / "base")
    recipe = {
        "name": "try",
        "data": {"source": "synthetic"},
        "tasks": {"diagnosis": {"prompt": "name it"}, "caption": {"prompt": "describe it"}},
        "stages": [{"name": "warmup"}, {"name": "caption", "task": "caption"}, {"name": "diagnosis"}],
    }
    (root / "run.json").write_text(json.dumps({"recipe": recipe}))
    for number, stage in enumerate(recipe["stages"], start=1):
        checkpoint = root / "stages" / f"{number}-{stage['name']}" / "checkpoint-8"
        shutil.copytree(root / "base", checkpoint)
        (checkpoint / "graft.json").unlink()
        (checkpoint / "trainer_state.json").write_text('{"global_step": 8}')
        if number < 3:
            (checkpoint.parent / "final").symlink_to("checkpoint-8")
            (checkpoint.parent / "done.json").write_text("{}")
    return root


def picture(path: Path, *size: int) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(path)
    return path


def mask(path: Path, *size: int) -> Path:
    pixels = np.zeros(size[::-1], dtype=np.uint8)
    pixels[: size[1] // 2] = 255
    Image.fromarray(pixels).save(path)
    return path


def numbers(folder: str = "dve") -> Any:
    return json.loads((Path(folder) / "dve.json").read_text(encoding="utf-8"))


def test_drawn_lesions_by_default(models: Path, skinflow: Skinflow) -> None:
    done = skinflow("show", "dve", models / "dve")
    assert done.code == 0, done.err
    assert sorted(path.name for path in Path("dve").iterdir()) == FILES
    for text in ("question: What is the diagnosis?\n", "before: base\n", "after: dve, grafted, untrained\n"):
        assert text in done.out
    found = numbers()
    assert len(found["images"]) == show_dve.DRAWN
    for image in found["images"]:
        assert 0.01 < image["lesion_area"] < 0.5
        # A graft computes what its base does.
        np.testing.assert_allclose(image["before"]["attention"], image["after"]["attention"], atol=1e-6)
        assert f"{100 * image['lesion_area']:.1f} %" in done.out


def test_the_drawn_masks_fit_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_dve, "DRAWN", 12)
    for size in (56, 448):
        for subject in show_dve.drawn(None, size):
            assert subject.mask is not None
            assert subject.mask.shape == (size, size)
            pixels = np.asarray(subject.image, dtype=float)
            away = np.linalg.norm(pixels - np.median(pixels[~subject.mask], axis=0), axis=-1)
            assert away[subject.mask].mean() > 4 * away[~subject.mask].mean()


def test_images_with_masks_beside_them(models: Path, skinflow: Skinflow) -> None:
    picture(Path("x.png"), 84, 56), mask(Path("x_segmentation.png"), 84, 56)
    picture(Path("y.jpg"), 56, 56)
    done = skinflow("show", "dve", "-o", "out", models / "dve", "x.png", "y.jpg", "--prompt", "name it")
    assert done.code == 0, done.err
    found = numbers("out")
    assert [each["lesion_area"] for each in found["images"]] == [pytest.approx(0.5), None]
    assert found["prompt"] == "name it"
    assert found["images"][0]["after"]["grid"] == [4, 6]


def test_masks_and_an_answer_that_are_given(models: Path, skinflow: Skinflow) -> None:
    picture(Path("x.png"), 56, 56), mask(Path("m.png"), 56, 56)
    done = skinflow("show", "dve", models / "dve", "x.png", "--masks", "m.png", "--answer", "it")
    assert done.code == 0, done.err
    assert numbers()["last_token_of"] == "answer"
    assert numbers()["images"][0]["lesion_area"] == pytest.approx(0.5)


def test_a_large_photograph_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_dve, "MOST_PIXELS", 56 * 56)
    image, found = show_dve._smaller(Image.new("RGB", (112, 56)), np.ones((56, 112), dtype=bool))
    assert image.size == (79, 40)
    assert found is not None
    assert found.shape == (40, 79)


def test_a_run_is_its_last_finished_stage(run: Path, skinflow: Skinflow) -> None:
    done = skinflow("show", "dve", run)
    assert done.code == 0, done.err
    assert "question: describe it\n" in done.out
    assert "before: try, base, grafted, untrained\n" in done.out
    assert "after: try, stage caption, step 8\n" in done.out
    assert numbers()["images"][0]["pixels"] == [56, 56]  # as its data is drawn


def test_another_model_before(models: Path, run: Path, skinflow: Skinflow) -> None:
    done = skinflow("show", "dve", run, "--before", run / "stages/1-warmup/final")
    assert done.code == 0, done.err
    assert "before: try, stage warmup, step 8\n" in done.out


def test_a_base_that_is_gone(models: Path, tmp_path: Path, skinflow: Skinflow) -> None:
    graft(models / "base", tmp_path / "alone", link="copy")
    told = json.loads((tmp_path / "alone/graft.json").read_text())
    (tmp_path / "alone/graft.json").write_text(json.dumps(told | {"base": "/gone"}))
    done = skinflow("show", "dve", tmp_path / "alone")
    assert done.code == 0, done.err
    assert "note: only the model itself is shown: graft.json names /gone, which is not there" in done.out
    assert list(numbers()["models"]) == ["after"]


def test_an_adapter_with_routers(models: Path, tmp_path: Path, skinflow: Skinflow) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from skinflow_plugins.models import load

    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["dve_router"])
    model = get_peft_model(load(models / "dve"), config)
    for name, value in model.named_parameters():
        if "modules_to_save" in name and name.endswith("band_bias"):
            torch.nn.init.constant_(value, 0.5)
    model.save_pretrained(tmp_path / "adapter")
    done = skinflow("show", "dve", tmp_path / "adapter")
    assert done.code == 0, done.err
    assert "before: dve, grafted, untrained\nafter: adapter\n" in done.out
    for image in numbers()["images"]:
        for gains in image["after"]["gains"].values():
            np.testing.assert_allclose(gains["band"], 1 + np.tanh(0.25), atol=1e-6)


def test_without_a_checkpoint_the_options_are_shown(skinflow: Skinflow) -> None:
    done = skinflow("show", "dve")
    assert done.code == 0
    assert done.out.startswith("vision encoder dve, from skinflow-plugins\n")


def test_wrong_input(models: Path, run: Path, tmp_path: Path, skinflow: Skinflow) -> None:
    def error(*arguments: Any) -> str:
        done = skinflow("show", *arguments)
        assert done.code == 2, done.out
        assert not Path("dve").exists()
        return str(done.err)

    dve = models / "dve"
    assert "nowhere: there is no such folder" in error("dve", "nowhere")
    assert "has no dynamic vision encoder" in error("dve", models / "base")
    assert "skinflow graft BASE OUT" in error("dve", models / "base")
    assert "so it is no checkpoint and no run" in error("dve", tmp_path)
    assert "--prompt: there is no checkpoint" in error("dve", "--prompt", "name it")
    assert "'quickstart' takes no further arguments, found: x" in error("quickstart", "x")
    assert "there is no such folder" in error("dve", dve, "--before", "nowhere")
    assert "--masks names 1 masks for 0 images" in error("dve", dve, "--masks", "m.png")

    picture(Path("x.png"), 56, 56), mask(Path("small.png"), 28, 28), Path("text.png").write_text("no picture")
    assert "--masks names 1 masks for 2 images" in error("dve", dve, "x.png", "x.png", "--masks", "small.png")
    assert "small.png: the mask is 28 x 28 pixels and its image 56 x 56" in error(
        "dve", dve, "x.png", "--masks", "small.png"
    )
    both = error("dve", dve, "text.png", "gone.png")
    assert "text.png: is no picture that Pillow can read" in both
    assert "gone.png: cannot be read as a picture: No such file or directory" in both
    assert "x.png: is a file, not a folder" in error("dve", dve, "-o", "x.png")

    empty = tmp_path / "empty"
    (empty / "stages").mkdir(parents=True)
    (empty / "run.json").write_text('{"recipe": {"name": "empty"}}')
    assert "no stage of this run is finished" in error("dve", empty)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    assert "adapter_config.json names no base model" in error("dve", tmp_path / "adapter")

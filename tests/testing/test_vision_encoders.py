"""The contract of vision encoders: `dve` keeps it, and whoever breaks a law is told which."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from skinflow_plugins.declare import vision_encoder
from skinflow_plugins.models import BaseFamily, build_tiny
from skinflow_plugins.models.encoders import base, dve
from skinflow_plugins.models.graft import graft
from skinflow_plugins.testing import check_vision_encoder

SINGLE = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny") / "llava"
    return build_tiny("llava", out, vocabulary=["What is shown?"], width=64, depth=3)


@vision_encoder("overwriting")
def overwriting(base: Path, out: Path, family: BaseFamily) -> None:
    """Writes over whatever is there."""
    shutil.rmtree(out, ignore_errors=True)
    graft(base, out)


@vision_encoder("crashing")
def crashing(base: Path, out: Path, family: BaseFamily) -> None:
    """Meets an existing folder with an error of its own kind."""
    shutil.copytree(base, out)


@vision_encoder("other_weights")
def other_weights(base: Path, out: Path, family: BaseFamily) -> None:
    """Changes what the model computes."""
    graft(base, out, link="copy")
    weights = out / "base-00001-of-00001.safetensors"
    tensors = {key: 1.5 * value for key, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    (out / "graft.json").unlink()  # which would tell


@vision_encoder("incomplete")
def incomplete(base: Path, out: Path, family: BaseFamily) -> None:
    """Forgets the routers."""
    graft(base, out)
    (out / "dve.safetensors").unlink()


@vision_encoder("careless")
def careless(base: Path, out: Path, family: BaseFamily) -> None:
    """Writes into the base."""
    graft(base, out)
    (Path(base) / "notes.txt").write_text("grafted")


@pytest.mark.parametrize(
    "options",
    [{}, {"router": "block", "bands": 2, "link": "hardlink"}, {"frozen_bases": True, "link": "copy"}],
    ids=str,
)
def test_dve_keeps_it(options: dict[str, Any], folder: Path) -> None:
    check_vision_encoder(dve, folder, options=options)


@pytest.mark.parametrize(
    ("encoder", "law"),
    [
        (base, "it makes a checkpoint of the base: there is no config.json in the new folder"),
        (overwriting, "a folder that exists is left alone, with an InputError: there was no error"),
        (crashing, "a folder that exists is left alone, with an InputError: FileExistsError: "),
        (other_weights, "the model starts as its base: logits differ by "),
        (incomplete, "the checkpoint loads: InputError: "),
        (careless, "the base stays as it is after making the checkpoint: notes.txt"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_broken_laws_are_named(encoder: Any, law: str, folder: Path, tmp_path: Path) -> None:
    own = shutil.copytree(folder, tmp_path / "base")
    with pytest.raises(AssertionError, match="^" + re.escape(f"vision encoder {encoder.name!r}: {law}")):
        check_vision_encoder(encoder, own)


def test_options_are_checked(folder: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"vision encoder 'dve': options must fit its signature: .*bands"
    ):
        check_vision_encoder(dve, folder, options={"bands": "four"})


def test_an_encoder_inside_a_function_cannot_be_pickled(folder: Path) -> None:
    def make() -> Callable[..., Any]:
        @vision_encoder("local")
        def local(base: Path, out: Path, family: BaseFamily) -> None:
            """Cannot be found again."""

        return local

    with pytest.raises(AssertionError, match="vision encoder 'local': it survives pickling"):
        check_vision_encoder(make(), folder)


def test_a_base_of_no_family(folder: Path, tmp_path: Path) -> None:
    own = shutil.copytree(folder, tmp_path / "base")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ValueError, match="is of no built-in family; give `family`"):
        check_vision_encoder(dve, own)

"""The contract of vision encoders as one call, on a real base checkpoint: a tiny one does."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from skinflow_plugins.declare import VisionEncoder
from skinflow_plugins.errors import InputError
from skinflow_plugins.models.dynamic import register
from skinflow_plugins.models.families import BaseFamily, family_of
from skinflow_plugins.models.load import load
from skinflow_plugins.options import check_options
from skinflow_plugins.testing.base_models import Inputs, difference, image_rows, noise_images, row_logits
from skinflow_plugins.testing.law import Check

_NONE: Mapping[str, Any] = MappingProxyType({})
_TOLERANCE = 1e-4


def check_vision_encoder(
    encoder: VisionEncoder,
    folder: Path,
    *,
    family: BaseFamily | None = None,
    options: Mapping[str, Any] = _NONE,
    inputs: Inputs | None = None,
) -> None:
    """Hold an encoder to its contract on a base checkpoint; `AssertionError` names it and the broken law.

    `family` is that of the base (None: the built-in one); `inputs` are as for `check_base_model`. The laws:
    options fit; it survives pickling; it writes a checkpoint into a new folder, which loads and starts as the
    base; it leaves an existing folder alone, with an `InputError`; the base stays as it is, also when the new
    model is saved into its own folder.
    """
    check = Check(f"vision encoder {encoder.name!r}")
    for _, problem in check_options(encoder.options, options):
        check.fail("options must fit its signature", problem)
    check.pickled(encoder)
    family = family or family_of(folder)
    if family is None:
        raise ValueError(f"{folder} is of no built-in family; give `family`")
    register([family])
    batch = (inputs or image_rows(check, family, folder))(noise_images())
    before = _contents(folder)

    def unchanged(after: str) -> None:
        now = _contents(folder)
        if now != before:
            changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
            check.fail(f"the base stays as it is after {after}", ", ".join(changed))

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "made"
        with check.law("it makes a checkpoint of the base"):
            encoder(folder, out, family, **options)
        if not (out / "config.json").is_file():
            check.fail("it makes a checkpoint of the base", "there is no config.json in the new folder")
        unchanged("making the checkpoint")

        written = _contents(out)
        law = "a folder that exists is left alone, with an InputError"
        try:
            encoder(folder, out, family, **options)
        except InputError:
            pass
        except Exception as error:
            check.fail(law, f"{type(error).__name__}: {error}")
        else:
            check.fail(law, "there was no error")
        if _contents(out) != written:
            check.fail(law, "its files changed")

        with check.law("the checkpoint loads"):
            model = load(out, dtype=torch.float32)
            base = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        with check.law("a forward pass runs"), torch.no_grad():
            gap = difference(row_logits(model, batch), row_logits(base, batch))
        if gap > _TOLERANCE:
            check.fail("the model starts as its base", f"logits differ by {gap:.1e}")
        with check.law("it can be saved into its folder"):
            model.save_pretrained(out)
        unchanged("saving the model into its folder")
        with check.law("the saved checkpoint loads"):
            load(out, dtype=torch.float32)


def _contents(folder: Path) -> dict[str, str]:
    """A digest of every file, through links."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

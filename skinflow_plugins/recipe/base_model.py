"""Whether a recipe's base model can be what it says: a tiny family, a complete local folder, or a hub id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, nearest
from skinflow_plugins.recipe import lines
from skinflow_plugins.recipe.families import TINY, family_for
from skinflow_plugins.recipe.lines import quoted_number
from skinflow_plugins.recipe.schema import Model

Mistake = tuple[lines.Path, str, str]
"""(path, what is wrong, what to do)."""

_BASE: lines.Path = ("model", "base")
_FAMILY: lines.Path = ("model", "family")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model*.bin.index.json",
)
_OPTIONS: Mapping[str, tuple[int, int]] = {"width": (32, 32), "depth": (2, 1), "seed": (0, 1)}
"""Options of the tiny builder: the least value, and what it must be a multiple of."""


def mistakes(model: Model, catalogue: Catalogue) -> Iterator[Mistake]:
    """Everything wrong with `model.base`, `model.family` and `model.options`; only config.json is opened."""
    if model.family is not None and model.family not in catalogue.table("base_models"):
        yield _FAMILY, catalogue.unknown("base_models", model.family), ""
    elif model.base.startswith(TINY):
        yield from _tiny(model, catalogue)
    elif model.base:
        yield from _real(model, catalogue)
    if model.base.startswith(TINY):
        yield from _tiny_options(model)


def _tiny(model: Model, catalogue: Catalogue) -> Iterator[Mistake]:
    name = model.base.removeprefix(TINY)
    if name not in catalogue.table("base_models"):
        yield _BASE, catalogue.unknown("base_models", name), ""
    elif model.family not in (None, name):
        yield _FAMILY, f"found {model.family!r}, but model.base is {model.base!r}", "leave it out"


def _tiny_options(model: Model) -> Iterator[Mistake]:
    for name, value in model.options.items():
        path = ("model", "options", name)
        if name not in _OPTIONS:
            yield path, f"unknown option {name!r}; {nearest(name, _OPTIONS)}", ""
            continue
        least, step = _OPTIONS[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < least or value % step:
            multiple = f" and a multiple of {step}" if step > 1 else ""
            message = f"found {value!r}, expected a whole number from {least} on{multiple}"
            yield path, message, quoted_number(value)


def _real(model: Model, catalogue: Catalogue) -> Iterator[Mistake]:
    folder = Path(model.base).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            hint = "give the folder of a checkpoint in Hugging Face's layout"
            yield _BASE, f"the folder {model.base!r} holds no config.json", hint
            return
        if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
            yield (
                _BASE,
                f"the folder {model.base!r} holds no weights",
                "they are files *.safetensors or *.bin",
            )
    elif model.base.startswith(("/", ".", "~")):
        yield _BASE, f"there is no folder {model.base!r}", "a path is read from the working folder"
        return
    elif not _HUB_ID.fullmatch(model.base):
        hint = "for example Qwen/Qwen2.5-VL-7B-Instruct, ./my_checkpoint or tiny:qwen2_5_vl"
        yield _BASE, f"{model.base!r} is no hub id, and there is no such folder", hint
        return
    try:
        family_for(model, catalogue)
    except InputError as error:
        for problem in error.problems:
            yield _BASE, problem.message, problem.hint
    except ValueError as error:
        yield _BASE, f"cannot read the config.json of {model.base!r}: {error}", ""

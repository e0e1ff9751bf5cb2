"""The tensors of a base checkpoint by name, from the headers of its safetensors files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.base_folder import ADAPTER
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.models.json_files import read_object

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_FLOATS = frozenset({"F64", "F32", "BF16", "F16"})


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file: its shape and its dtype as safetensors names it."""

    file: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Linear:
    """A linear layer of the base: its name in the files (without `.weight`) and its size."""

    key: str
    in_features: int
    out_features: int
    parameters: int


@dataclass(frozen=True)
class BaseWeights:
    """Every tensor of a checkpoint folder; `files` are the shards in order, `size` the sum of their bytes."""

    folder: Path
    files: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]

    @classmethod
    def read(cls, folder: Path) -> BaseWeights:
        """Read all headers; `InputError` when shards are missing, unreadable, or not as the index says."""
        index: dict[str, str] | None = None
        if (folder / SINGLE).is_file():
            files = [SINGLE]
        elif (folder / INDEX).is_file():
            index = read_object(folder / INDEX, "weight_map")["weight_map"]
            files = sorted(set(index.values()))
        else:
            raise InputError(_no_safetensors(folder))
        tensors: dict[str, TensorInfo] = {}
        problems = []
        for file in files:
            try:
                tensors |= _header(folder / file, file)
            except (OSError, SafetensorError) as error:
                problems.append(Problem(f"cannot be read: {error}", where=str(folder / file)))
        if index is not None and not problems:
            wrong = [key for key, file in index.items() if key not in tensors or tensors[key].file != file]
            if wrong:
                shown = f"{wrong[0]!r} in {index[wrong[0]]}"
                message = f"names {len(wrong)} tensors that are not there, such as {shown}"
                problems.append(Problem(message, where=str(folder / INDEX), hint="download the base again"))
        if problems:
            raise InputError(problems)
        return cls(folder, tuple(files), tensors)

    def tower(self, family: BaseFamily) -> dict[str, TensorInfo]:
        """The tensors of the vision tower, under the old names of a family or the new ones."""
        name = family.vision_tower.rpartition(".")[2]
        return {key: info for key, info in self.tensors.items() if name in key.split(".")}

    def linear(self, family: BaseFamily, path: str) -> Linear:
        """The linear layer at `path` below the vision tower.

        Raises `InputError` when it is not there, not a matrix, or not in a floating-point format.
        """
        tower = self.tower(family)
        wanted = f"{path}.weight"
        keys = [key for key in tower if key == wanted or key.endswith(f".{wanted}")]
        if len(keys) != 1:
            found = f"{len(keys)} tensors are" if keys else "no tensor is"
            message = f"{found} called ...{wanted} in the vision tower; expected one"
            hint = f"is this a checkpoint of the family {family.name}, whole and not quantised?"
            raise InputError(Problem(message, where=str(self.folder), hint=hint))
        info = tower[keys[0]]
        key = keys[0].removesuffix(".weight")
        if len(info.shape) != 2 or info.dtype not in _FLOATS:
            message = (
                f"{keys[0]} is {info.dtype} of shape {list(info.shape)}; expected a floating-point matrix"
            )
            hint = "quantised bases cannot be grafted: graft first, quantise the rest afterwards"
            raise InputError(Problem(message, where=str(self.folder / info.file), hint=hint))
        bias = tower.get(f"{key}.bias")
        parameters = info.parameters + (bias.parameters if bias else 0)
        return Linear(key, info.shape[1], info.shape[0], parameters)

    def tensor(self, key: str) -> Any:
        """One tensor, read from its file."""
        with safe_open(self.folder / self.tensors[key].file, framework="pt") as file:
            return file.get_tensor(key)


def _header(path: Path, name: str) -> dict[str, TensorInfo]:
    with safe_open(path, framework="pt") as file:
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        return {
            key: TensorInfo(name, tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()
        }


def _no_safetensors(folder: Path) -> Problem:
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".gguf"))
    if (folder / "adapter_config.json").is_file():
        message, hint = ADAPTER
    elif others:
        message = f"holds weights as {others[0]} and none as safetensors"
        hint = "load it in transformers and save it again; that writes safetensors"
    else:
        message = f"holds neither {SINGLE} nor {INDEX}"
        hint = "give the folder of a checkpoint in Hugging Face's layout"
    return Problem(message, where=str(folder), hint=hint)

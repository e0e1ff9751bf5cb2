"""The folder of a graft: links to the base's shards, the router tensors, the index, and the small files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors.torch import save_file
from torch import Tensor

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.base_weights import INDEX, BaseWeights
from skinflow_plugins.models.dynamic.checkpoint import MANIFEST, MANIFEST_FORMAT, ROUTERS, fingerprint

Link = Literal["symlink", "hardlink", "copy"]

_NOT_COPIED = (
    *(".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".index.json"),
    # What a trainer left. From args.json swift would take the base's model type, and so drop the routers.
    *("args.json", "trainer_state.json", "graft.json"),
)
"""Endings of weights, their indices, and traces of a training: the base's, not the graft's."""


@dataclass(frozen=True)
class Written:
    """How many bytes a new folder takes, and how many it shares with the base."""

    new_bytes: int
    linked_bytes: int


def check_output(base: Path, out: Path, link: str) -> None:
    """Raise `InputError` when `out` cannot be written as asked; nothing is touched."""
    problems = []
    if link not in get_args(Link):
        problems.append(Problem(f"found {link!r}, expected one of {', '.join(get_args(Link))}", path="link"))
    if out.is_symlink() or out.exists():
        hint = "give a folder that does not exist yet; nothing was touched"
        problems.append(Problem("exists already", where=str(out), hint=hint))
    elif not _parent(out).is_dir() or not os.access(_parent(out), os.W_OK | os.X_OK):
        problems.append(Problem("cannot be written to", where=str(_parent(out))))
    elif link == "hardlink" and _parent(out).stat().st_dev != base.stat().st_dev:
        message = f"is on another file system than {base}, and hard links cannot cross"
        hint = "use --link symlink, or --link copy for a folder that stands alone"
        problems.append(Problem(message, where=str(out), hint=hint))
    if problems:
        raise InputError(problems)


def _parent(path: Path) -> Path:
    """The nearest folder above that exists."""
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    return parent


def write_folder(
    base: Path,
    out: Path,
    link: str,
    weights: BaseWeights,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
) -> Written:
    """Write `out` whole or not at all; raises `InputError` when a link cannot be made."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for path in sorted(base.iterdir()):
            if path.is_file() and not path.name.endswith(_NOT_COPIED) and path.name != "config.json":
                shutil.copy(path, partial / path.name)
            elif path.is_dir() and path.name == "additional_chat_templates":
                shutil.copytree(path, partial / path.name)
        names = {
            # A name of our own: transformers removes `model-*-of-*` files that it did not write itself.
            file: f"base-{number:05}-of-{len(weights.files):05}.safetensors"
            for number, file in enumerate(weights.files, start=1)
        }
        for file, name in names.items():
            _link(base / file, partial / name, link)
        save_file(dict(tensors), partial / ROUTERS, metadata={"format": "pt"})
        index = {key: names[info.file] for key, info in weights.tensors.items()} | dict.fromkeys(
            tensors, ROUTERS
        )
        files = {
            name: {"source": str((base / file).resolve()), "fingerprint": fingerprint(base / file)}
            for file, name in names.items()
        }
        linked = sum((base / file).stat().st_size for file in names)
        total = linked + (partial / ROUTERS).stat().st_size
        _write_json(partial / INDEX, {"metadata": {"total_size": total}, "weight_map": index})
        _write_json(
            partial / MANIFEST, {"format": MANIFEST_FORMAT, "base": str(base), "link": link, "files": files}
        )
        _write_json(partial / "config.json", config)
        partial.chmod(0o777 & ~_umask())
        new = sum(path.stat().st_size for path in partial.iterdir() if path.name not in files)
        try:
            partial.rename(out)
        except OSError as error:
            message = f"exists already, or cannot be made: {error.strerror}"
            raise InputError(Problem(message, where=str(out), hint="did another graft write it?")) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Written(new, linked)


def _link(source: Path, target: Path, link: str) -> None:
    source = source.resolve()  # hub caches link from names to contents; the contents are what stays
    try:
        if link == "symlink":
            target.symlink_to(os.path.relpath(source, target.parent.resolve()))
        elif link == "hardlink":
            target.hardlink_to(source)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        hint = "use another --link, or a folder beside the base"
        message = f"a {link} to {source} cannot be made: {error.strerror}"
        raise InputError(Problem(message, where=str(target.parent.parent), hint=hint)) from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")

"""Folders of dynamic checkpoints: the manifest of a graft, and weights that must not be taken for others.

A grafted folder links the base's shards under names of its own and lists them in an index. Other programs
save into folders and move them; whoever opens one must get the newest weights, all of them, or an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.base_weights import INDEX, SINGLE
from skinflow_plugins.models.json_files import read_object

MANIFEST = "graft.json"
ROUTERS = "dve.safetensors"
MANIFEST_FORMAT = 1
_BLOCKS, _BLOCK = 64, 4096


def manifest(folder: Path) -> Mapping[str, Any] | None:
    """What `graft` wrote down about a folder; None when the folder was not made by it.

    Raises `InputError` for a manifest of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    found = read_object(path, "files")
    if found.get("format") != MANIFEST_FORMAT:
        message = f"is of format {found.get('format')!r}; this skinflow-plugins reads {MANIFEST_FORMAT}"
        hint = "install the version that wrote it, or graft the base anew"
        raise InputError(Problem(message, where=str(path), hint=hint))
    return found


def weight_files(folder: Path) -> list[str]:
    """The files that a folder's index names; empty without an index."""
    path = folder / INDEX
    if not path.is_file():
        return []
    return sorted(set(read_object(path, "weight_map")["weight_map"].values()))


def check(folder: Path) -> None:
    """Raise `InputError` when a folder's weights are incomplete, ambiguous, or no longer those grafted."""
    problems = []
    named = weight_files(folder)
    if (folder / SINGLE).is_file() and named and SINGLE not in named:
        problems.append(
            Problem(
                f"holds two sets of weights: {SINGLE}, and the {len(named)} files that {INDEX} names",
                where=str(folder),
                hint=f"keep one: remove {INDEX} if {SINGLE} is the newer, or {SINGLE} if it is not",
            )
        )
    graft = manifest(folder)
    files: Mapping[str, Any] = graft["files"] if graft else {}
    for name in named:
        path = folder / name
        if not path.exists():
            message = f"{name} is missing"
            hint = f"{INDEX} names it: bring it back, or download the checkpoint again"
            if name in files:
                message += f"; it was linked from {files[name]['source']}"
                hint = (
                    "the folder or its base was moved: bring them back together, or graft anew "
                    "(with --link copy the folder stands alone)"
                )
            problems.append(Problem(message, where=str(folder), hint=hint))
        elif name in files and (found := fingerprint(path)) != files[name]["fingerprint"]:
            message = f"{name} is not what it was when it was grafted: the base has changed"
            hint = f"graft the new base into a new folder ({files[name]['fingerprint']}, now {found})"
            problems.append(Problem(message, where=str(folder), hint=hint))
    if problems:
        raise InputError(problems)


def fingerprint(path: Path) -> str:
    """The size of a file and a digest of 64 blocks spread over it, its header's first among them.

    A base that was trained or converted since differs in every block; 16 GB take no longer than 16 MB.
    """
    size = path.stat().st_size
    found = hashlib.sha256()
    with path.open("rb") as file:
        for number in range(_BLOCKS):
            file.seek(number * max(size - _BLOCK, 0) // (_BLOCKS - 1))
            found.update(file.read(_BLOCK))
    return f"{size}-{found.hexdigest()[:16]}"


def stale_weights(folder: Path) -> dict[str, tuple[int, int, int]]:
    """The weight files of an existing checkpoint in `folder`, with time, inode and size, before a new one."""
    names = {SINGLE, INDEX, ROUTERS, *weight_files(folder)}
    if graft := (manifest(folder) if folder.is_dir() else None):
        names |= {MANIFEST, *graft["files"]}
    paths = (folder / name for name in sorted(names))
    stats = {path.name: path.lstat() for path in paths if path.is_symlink() or path.exists()}
    return {name: (stat.st_mtime_ns, stat.st_ino, stat.st_size) for name, stat in stats.items()}


def remove_stale(folder: Path, before: Mapping[str, tuple[int, int, int]]) -> None:
    """Remove files that stood in `folder` before weights were written there and were not written anew.

    Only links of ours and files that the old index named are concerned. A link goes, what it points to stays.
    """
    now = stale_weights(folder)
    new = [name for name in (SINGLE, INDEX) if name in now and now[name] != before.get(name)]
    if not new:
        return  # no weights were written: an adapter, or another process's part
    kept = {*new, *(weight_files(folder) if INDEX in new else ())}
    for name, stat in before.items():
        if now.get(name) == stat and name not in kept:
            (folder / name).unlink()

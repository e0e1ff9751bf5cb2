"""The whole model of an adapter, merged once: vLLM's own LoRA knows nothing of routers."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from skinflow_plugins.bridge.checkpoint_source import Source, open_source
from skinflow_plugins.bridge.serving.memory import gib, weights_size
from skinflow_plugins.bridge.serving.subject import read_json
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem

FACTS = "merged.json"


def merged(source: Source, catalogue: Catalogue, say: Callable[[str], None]) -> Path:
    """The folder with the merged model; one that was made of the same files is taken again.

    It stands in the run's `merged`, or in the user's cache where there is no run or it cannot be written to.
    Raises `InputError` when the disk is too full.
    """
    digest = fingerprint(source)
    stage = source.folder.parent.name if source.stage else ""
    name = "-".join(word for word in (stage, source.folder.name, digest[:12]) if word)
    out = _root(source) / name
    if (out / FACTS).is_file() and read_json(out / FACTS).get("fingerprint") == digest:
        say(f"the adapter was merged before: {out}")
        return out
    if out.exists():
        message = "stands where the merged model should, and is not one"
        raise InputError(Problem(message, where=str(out), hint="remove it; nothing was touched"))
    _check_disk(source, out.parent)
    say(f"merging the adapter into {out}")
    partial = Path(tempfile.mkdtemp(prefix=f"{name}.partial-", dir=out.parent))
    try:
        _write(source, catalogue, partial)
        facts = {"fingerprint": digest, "adapter": str(source.folder), "base": source.base}
        (partial / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp hides it from everybody else
        partial.rename(out)  # so that a folder of this name is always whole
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def fingerprint(source: Source) -> str:
    """A digest of the adapter's files and of which files its base consists of."""
    from skinflow_plugins.models.base_folder import base_folder

    found = hashlib.sha256()
    for path in sorted(source.folder.iterdir()):
        if path.name.startswith("adapter_") or path.suffix in (".jinja", ".txt") or _of_processor(path):
            found.update(path.name.encode())
            with path.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    for path in sorted(base_folder(source.base).iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json") and path.is_file():
            state = path.stat()  # of the file behind a link
            found.update(f"{path.name} {state.st_size} {state.st_mtime_ns}".encode())
    return found.hexdigest()


def _of_processor(path: Path) -> bool:
    return path.suffix == ".json" and path.name not in ("trainer_state.json", "args.json")


def _root(source: Source) -> Path:
    if source.run is not None and os.access(source.run, os.W_OK | os.X_OK):
        root = source.run / "merged"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "skinflow" / "merged"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(Problem(f"cannot be written to: {error.strerror}", where=str(root))) from error
    return root


def _check_disk(source: Source, root: Path) -> None:
    from skinflow_plugins.models.base_folder import base_folder

    needed, there = weights_size(base_folder(source.base)), shutil.disk_usage(root).free
    if needed > there:
        message = f"has {gib(there)} free; the merged model takes about {gib(needed)}"
        raise InputError(Problem(message, where=str(root)))


def _write(source: Source, catalogue: Catalogue, out: Path) -> None:
    model, processor = open_source(source, catalogue, dtype="auto")
    # The modules' own names, as in every checkpoint of ours; see bridge/checkpoints.py.
    model.save_pretrained(out, save_original_format=False)
    processor.save_pretrained(out)
    del model
    gc.collect()  # vLLM needs the memory next

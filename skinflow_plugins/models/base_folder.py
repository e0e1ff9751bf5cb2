"""The local folder of a base model that is named by a folder or by a hub id."""

from __future__ import annotations

from pathlib import Path

from skinflow_plugins.errors import InputError, Problem

ADAPTER = (
    "is an adapter, not a model",
    "merge it first: swift export --adapters ... --merge_lora true",
)
"""What is wrong with such a folder, and what to do."""

_NOT_NEEDED = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "original/*")


def base_folder(base: str | Path) -> Path:
    """An existing folder with a config.json; a hub id is downloaded, or found in the cache.

    Raises `InputError` when there is no such folder and no such model.
    """
    folder = Path(base).expanduser()
    if not folder.exists() and not Path(base).is_absolute() and str(base).count("/") == 1:
        folder = _download(str(base))
    if not (folder / "config.json").is_file():
        what = "holds no config.json" if folder.is_dir() else "there is no such folder"
        hint = "give the folder of a checkpoint in Hugging Face's layout, or a hub id (owner/name)"
        if (folder / "adapter_config.json").is_file():
            what, hint = ADAPTER
        raise InputError(Problem(what, where=str(base), hint=hint))
    return folder.resolve()


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, ignore_patterns=list(_NOT_NEEDED)))
    except Exception as error:  # offline, unknown, gated: the hub's own words say which
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        message = f"is no folder here, and cannot be had from the hub: {lines[0]}"
        hint = "download it where there is a network and give its folder"
        raise InputError(Problem(message, where=hub_id, hint=hint)) from error

"""How much memory a server takes, and how much there is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CPU_CACHE = 4
"""GiB of key-value cache on a CPU, unless VLLM_CPU_KVCACHE_SPACE says otherwise."""
OVERHEAD = 2 * 2**30
"""Bytes that vLLM's processes take on a CPU before there is a model: 1.7 GB were measured."""


def on_cpu() -> bool:
    """Whether vLLM will find no accelerator here."""
    import torch

    return not torch.accelerator.is_available()


def cache_space() -> int:
    """GiB of key-value cache on a CPU."""
    text = os.environ.get("VLLM_CPU_KVCACHE_SPACE") or ""
    return int(text) if text.isdecimal() and int(text) else CPU_CACHE


def weights_size(folder: Path) -> int:
    """Bytes of all weights in a folder; 0 for a hub id."""
    for kind in ("*.safetensors", "*.bin"):
        if files := [path for path in folder.glob(kind) if path.is_file()]:
            return sum(path.stat().st_size for path in files)
    return 0


def free_memory() -> int:
    """Bytes that new processes can have, within the container's limit."""
    import psutil  # type: ignore[import-untyped]  # accelerate brings it

    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no control groups, or no limit
        limits = Path("/sys/fs/cgroup")
        limit, used = (int((limits / f"memory.{word}").read_text()) for word in ("max", "current"))
        stat = dict(line.split() for line in (limits / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(stat.get("inactive_file", 0)))
    return free


def gpu_memory(count: int) -> int:
    """Bytes of the first `count` GPUs; what others use of them is vLLM's to say."""
    import torch

    there = range(min(count, torch.cuda.device_count()))
    return sum(int(torch.cuda.get_device_properties(number).total_memory) for number in there)


def gib(size: int) -> str:
    """A number of bytes as people write it."""
    return f"{size / 2**30:.1f} GiB"

"""Which machine, versions and commit a figure comes from: the last columns of every results file."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from skinflow_bench import ROOT


def machine(device: torch.device, commit: str = "") -> dict[str, str]:
    """The columns that say where, with what and when something was measured.

    `commit` is what to call the revision where git does not say.
    """
    on_gpu = device.type == "cuda"
    return {
        "gpu": torch.cuda.get_device_name(device) if on_gpu else "",
        "driver": driver() if on_gpu else "",
        "cuda": (torch.version.cuda or "") if on_gpu else "",
        "cpu": processor(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "commit": revision(ROOT) or commit or "unknown",
        "date": date.today().isoformat(),
    }


def ceilings(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """What this GPU reaches in practice: TFLOP/s of a large product, TB/s of a copy (read and written)."""
    side = 8192
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source, target = (torch.empty(2**28, dtype=torch.int32, device=device).random_() for _ in range(2))
    product = _milliseconds(lambda: torch.mm(a, b))
    copy = _milliseconds(lambda: target.copy_(source))
    return {
        "product_tflops": f"{2 * side**3 / product / 1e9:.0f}",
        "copy_tbs": f"{2 * source.nbytes / copy / 1e9:.2f}",
    }


def _milliseconds(call: Callable[[], object], runs: int = 5) -> float:
    call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(runs):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / runs


def title(columns: dict[str, str]) -> str:
    """The same as one line to print."""
    where = f"{columns['gpu']}, driver {columns['driver']}, CUDA {columns['cuda']}"
    if not columns["gpu"]:
        where = f"{columns['cpu']}, {columns['threads']} thread(s)"
    versions = f"torch {columns['torch']}, triton {columns['triton'] or 'missing'}"
    return f"{where}, {versions}, commit {columns['commit']}, {columns['date']}"


def revision(folder: Path) -> str:
    """The commit of a tree, with a + where files of it have changed since; "" where git does not say."""
    told = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def processor() -> str:
    """The name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def driver() -> str:
    """The version of NVIDIA's driver."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        said = []
    if said:
        return said[0]
    try:
        found = re.search(r"\d+\.\d+[.\d]*", Path("/proc/driver/nvidia/version").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[0] if found else "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

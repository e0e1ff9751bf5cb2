"""What this machine has for training: its NVIDIA GPUs, and the packages that make them faster.

Where there is no GPU, torch is not imported, so that planning stays light. Where there is one, another
process looks: torch would keep some of the GPU's memory for as long as ours lives, and flash-attn, a binary
made for one torch, can bring down the process that imports it.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

FLASH_ATTN, FLASH_ATTN_3, LIGER = "flash-attn", "flash-attn-3", "liger-kernel"
MODULES: Mapping[str, str] = MappingProxyType(
    {FLASH_ATTN: "flash_attn", FLASH_ATTN_3: "flash_attn_interface", LIGER: "liger_kernel.chunked_loss"}
)
"""The packages that we look for, each with the module that training will import."""
DRIVER = (Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))
"""One of these is there where a driver of NVIDIA is; the last under Windows' Linux."""
MARK = "skinflow sees "
PATIENCE = 120.0


@dataclass(frozen=True)
class Package:
    """A package that is installed; `broken` says why it cannot be imported, where that was tried."""

    version: str
    broken: str = ""


@dataclass(frozen=True)
class Machine:
    """The GPUs that a run would see, and packages by distribution name.

    Of several GPUs, `gpu` and `capability` are those of the weakest. `no_gpu` says why there is none. A
    machine without anything is `Machine()`.
    """

    gpu: str | None = None
    capability: tuple[int, int] = (0, 0)
    gpus: int = 0
    packages: Mapping[str, Package] = field(default_factory=dict)
    no_gpu: str = "there is no NVIDIA GPU"

    def __str__(self) -> str:
        if self.gpu is None:
            return self.no_gpu
        return self.gpu if self.gpus == 1 else f"{self.gpus} GPUs, {self.gpu}"


def this_machine() -> Machine:
    """What this machine has, looked up once for each value of CUDA_VISIBLE_DEVICES."""
    return _this_machine(os.environ.get("CUDA_VISIBLE_DEVICES"))


@functools.cache
def _this_machine(visible: str | None) -> Machine:
    packages = {name: Package(found) for name in MODULES if (found := _version(name))}
    if visible is not None and visible.strip() in ("", "-1"):
        return Machine(packages=packages, no_gpu="CUDA_VISIBLE_DEVICES hides every GPU")
    if not any(path.exists() for path in DRIVER):
        return Machine(packages=packages)
    code = f"from {__name__} import look; look({list(packages)!r})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"looking for a GPU took more than {PATIENCE:.0f} seconds"
        return Machine(packages=packages, no_gpu=why)
    return as_seen(done.stdout, packages)


def look(packages: Sequence[str]) -> None:
    """Print what torch says of the GPUs, then what each package's import comes to, a line of JSON for each.

    For a process of its own. Where there is no GPU, the packages are left alone.
    """
    gpus: list[Any] = []
    why = ""
    try:
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
            gpus = [(each.major, each.minor, each.name) for each in found]
        else:
            why = "torch is no CUDA build" if torch.version.cuda is None else "torch finds no GPU"
    except Exception as error:  # a broken installation fails in many ways
        why = f"torch cannot be imported: {one_line(error)}"
    print(f"\n{MARK}{json.dumps([gpus, why])}", flush=True)
    for name in packages if gpus else ():
        broken = ""
        try:
            importlib.import_module(MODULES[name])
        except Exception as error:
            broken = one_line(error)
        print(f"\n{MARK}{json.dumps([name, broken])}", flush=True)


def as_seen(printed: str, packages: Mapping[str, Package]) -> Machine:
    """The machine that `look` described, as far as it came; `packages` are those that are installed."""
    lines = [json.loads(line.removeprefix(MARK)) for line in printed.splitlines() if line.startswith(MARK)]
    if not lines:
        return Machine(packages=packages, no_gpu="the process that looked for a GPU failed")
    (gpus, why), tried = lines[0], dict(lines[1:])
    if not gpus:
        return Machine(packages=packages, no_gpu=why)
    major, minor, name = min(gpus)
    died = "importing it ends the process"
    packages = {each: Package(found.version, tried.get(each, died)) for each, found in packages.items()}
    return Machine(name, (major, minor), len(gpus), packages)


def one_line(error: BaseException, most: int = 160) -> str:
    """An error as a short line, for a comment or a table."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= most else text[: most - 3] + "..."


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

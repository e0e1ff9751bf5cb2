"""The command line of virtual_width.py, with the defaults of the device."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from skinflow_bench import BENCH
from skinflow_bench.cases import DTYPES, PACKS, QWEN2_5, SHAPES, settings
from skinflow_bench.opponents import COMPILED


def arguments(description: str | None, given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says; `settings` are its cases. Ends the program where that is impossible."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    add = parser.add_argument
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--quick", action="store_true", help="one small case")
    add("--only", default="", metavar="TEXT", help="rows whose label holds this, beside nn.Linear")
    add("--shapes", nargs="+", metavar="I->O", help=f"default: {' '.join(SHAPES)}; on a CPU the first two")
    packs = f"images x tokens, or 300+1+77, or ragged; default: {' '.join(PACKS)}; on a CPU 4x1024 16x64"
    add("--packs", nargs="+", help=packs)
    add("--bands", nargs="+", type=int, metavar="K", help="default: 4 16; on a CPU 4")
    add("--dtypes", nargs="+", choices=list(DTYPES), help="default: bf16; on a CPU fp32")
    add("--repeats", type=int, help="most rounds of a row; default: 50; on a CPU 9, or 2 with --quick")
    add("--threads", type=int, default=1, help="of the CPU")
    add("--minutes", type=float, help="no case is begun after this time; default: 8; on a CPU 60")
    compiled = f"for torch.compile, of the first shape with K=4; default: {' '.join(COMPILED)}; on a CPU none"
    add("--compile", nargs="*", dest="compiled", metavar="PACK", help=compiled)
    breakdown = "where the time of the first case goes, by kernel; default: on a GPU"
    add("--breakdown", action=argparse.BooleanOptionalAction, help=breakdown)
    out = "CSV file; default: results/virtual_width_DEVICE.csv in this folder; none with --quick and --base"
    add("--out", type=Path, help=out)
    add("--commit", default="", help="what to write as commit where git does not say")
    add("--base", metavar="REV", help="compare with it, or with a folder that holds kernels/skinflow_kernels")
    add("--tune", action="store_true", help="sweep sizes of tiles; --only TEXT for some kernels")
    options = parser.parse_args(given)
    for name, value in _defaults(options).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.settings = settings(options.shapes, options.packs, options.bands, options.dtypes)
    try:
        for setting in options.settings:
            _ = setting.features, setting.lengths
        if options.device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"--device {options.device}: torch finds no CUDA device")
        if options.tune and not options.device.startswith("cuda"):
            raise ValueError("--tune needs a GPU: Triton's interpreter is never timed")
        if options.repeats < 1:
            raise ValueError(f"--repeats {options.repeats}; expected 1 or more")
    except ValueError as error:
        parser.error(str(error))
    return options


def _defaults(options: argparse.Namespace) -> dict[str, Any]:
    on_gpu, quick = options.device.startswith("cuda"), options.quick
    found: dict[str, Any] = {
        "shapes": SHAPES[:1] if quick else SHAPES if on_gpu else QWEN2_5,
        "packs": ["2x128"] if quick else PACKS if on_gpu else ["4x1024", "16x64"],
        "bands": [4, 16] if on_gpu and not quick else [4],
        "dtypes": ["bf16"] if on_gpu else ["fp32"],
        "repeats": 50 if on_gpu else 2 if quick else 9,
        "minutes": 8.0 if on_gpu else 60.0,
        "compiled": list(COMPILED) if on_gpu and not quick else [],
        "breakdown": on_gpu and not quick,
        "out": None if quick else BENCH / "results" / f"virtual_width_{slug(options.device)}.csv",
    }
    if options.base:
        packs = ["16x1024", "4x4096", "16x256"] if on_gpu else ["4x1024"]
        found |= {"shapes": SHAPES[:1] if quick else QWEN2_5, "packs": ["2x128"] if quick else packs}
        found |= {"bands": [4], "out": None, "repeats": 20 if on_gpu else 2}
    return found


def slug(device: str) -> str:
    """A device in the name of a file."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return "cpu"
    name = torch.cuda.get_device_name(device).removeprefix("NVIDIA ")
    return "".join(letter if letter.isalnum() else "_" for letter in name).lower()

"""What the dynamic vision encoder costs a whole vision tower, and a forward and backward as large as in GRPO.

    python kernels/bench/towers.py                    Qwen2.5-VL-7B and Qwen3-VL-4B, random weights, on a GPU
    python kernels/bench/towers.py --size tiny        the same in small, in less than a minute on a CPU
    python kernels/bench/towers.py --size quarter --images 2 --side 32      a quarter of each tower, on a CPU

First it is checked that the dynamic tower is the plain one while its routers' heads are zero, is not when
they are random, and that another backend computes the same output and gradients; otherwise nothing is timed
(exit code 1).

Ratios are to the plain tower in the same mode and rounds. `routers`: the tower is frozen and its routers
learn; the plain tower's figure is then that of a backward just as far, to what enters the first dynamic
block. `all`: every weight is trained, and the bases follow theirs (deriving them anew after an optimizer step
is not part of it). In the GRPO rows the language model learns, and the tower's routers; the images of a group
are copies of one another, and `encoded once` uses that (speed.distinct_images in a recipe).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from skinflow_bench import BENCH, attention, tables
from skinflow_bench.cases import DTYPES
from skinflow_bench.clocks import Clock, CPUClock, CUDAClock, Timed, measure, reason
from skinflow_bench.command import slug
from skinflow_bench.floors import BOTH
from skinflow_bench.grpo import Step
from skinflow_bench.machine import machine, title
from skinflow_bench.sizes import MADE, QWEN2_5_VL_7B, SIZES, ModelSize
from skinflow_bench.tower_checks import check
from skinflow_bench.tower_rows import DYNAMIC, PLAIN, Towers, rows

GOAL = 1.03
"""Of the ratio for the whole tower of Qwen2.5-VL with four dynamic layers."""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says, with the defaults of the device."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--size", choices=list(MADE), default="real")
    add("--models", nargs="+", choices=[size.name for size in SIZES], default=[size.name for size in SIZES])
    add("--images", nargs="+", type=int, help="default: 16 1; with --size tiny 2")
    add(
        "--side",
        nargs="+",
        type=int,
        help="patches along a side, for each of --images; default: 32 64; tiny 8",
    )
    add("--grpo", action=argparse.BooleanOptionalAction, help="default: on a GPU, and with --size tiny")
    add("--completions", type=int, default=8, help="of the GRPO rows, of one image of 1,024 patches")
    add("--dtype", choices=list(DTYPES), help="default: bf16; on a CPU fp32")
    add("--attention", help="default: flash-attn, or torch's kernel for packed sequences, or sdpa")
    add("--repeats", type=int, help="most rounds of a row; default: 20; on a CPU 3")
    add("--threads", type=int, default=1, help="of the CPU")
    add("--minutes", type=float, default=8.0, help="nothing is begun after this time")
    add("--only", default="", metavar="TEXT", help="rows whose label holds this, beside the plain tower's")
    add("--out", type=Path, help="CSV file; default: results/towers_DEVICE.csv in this folder; none for tiny")
    add("--commit", default="", help="what to write as commit where git does not say")
    options = parser.parse_args(given)
    on_gpu, small = options.device.startswith("cuda"), options.size == "tiny"
    default = {
        "images": [2] if small else [16, 1],
        "side": [8] if small else [32, 64],
        "grpo": on_gpu or small,
        "dtype": "bf16" if on_gpu else "fp32",
        "repeats": 20 if on_gpu else 3,
        "out": None if small else BENCH / "results" / f"towers_{slug(options.device)}.csv",
    }
    for name, value in default.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if len(options.images) != len(options.side):
        parser.error(
            f"--images has {len(options.images)} numbers, --side {len(options.side)}; expected as many"
        )
    if on_gpu and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch finds no CUDA device")
    return options


class Table:
    """Prints lines and keeps them for the CSV file."""

    def __init__(self, options: argparse.Namespace, columns: dict[str, str]) -> None:
        self.options, self.columns, self.lines = options, columns, list[dict[str, str]]()
        self.goal: float | None = None

    def add(self, where: dict[str, str], timed: dict[tuple[str, str, str], Timed], clock: Clock) -> None:
        """Time rows (tower, training, mode), each beside the plain tower's of its training and mode."""
        wanted = {
            key: each
            for key, each in timed.items()
            if key[0] == PLAIN or self.options.only.lower() in ", ".join(key).lower()
        }
        labels = {key: ", ".join(filter(None, key)) for key in wanted}
        bases = {key: labels[PLAIN, key[1] if key[1] in ("routers", "all") else "", key[2]] for key in wanted}
        samples, why = measure(
            clock, {labels[key]: each for key, each in wanted.items()}, set(bases.values())
        )
        print(", ".join(f"{value}" for value in where.values()))
        for key, label in labels.items():
            found, base = samples.get(label), samples.get(bases[key])
            figures = tables.figures(found, found.ratio(base) if found and base else None, bases[key])
            print(tables.text(label, figures, why.get(label, "")), flush=True)
            if found and base and self.goal and key[0] == DYNAMIC:
                print(f"    goal {self.goal}: {'' if found.ratio(base) <= self.goal else 'NOT '}reached")
            what = dict(zip(("row", "training", "mode"), key, strict=True))
            self.lines.append(where | what | figures | {"why": why.get(label, "")} | self.columns)
        if self.options.out:
            tables.write(self.options.out, self.lines)


def measure_model(
    size: ModelSize, options: argparse.Namespace, table: Table, clock: Clock, begun: float
) -> bool:
    """Check and time one model; whether all checks passed."""
    device, dtype = torch.device(options.device), DTYPES[options.dtype]
    how = {"model": size.name, "dtype": options.dtype, "attention": options.attention}
    for images, side in zip(options.images, options.side, strict=True):
        if _late(f"{size.name}, {images} images", options, begun):
            return True
        towers = Towers(size, device, dtype, images, side, options.attention)
        if not _passes(check(towers, "torch" if device.type == "cuda" else "reference"), size.name):
            return False
        # Goals, where they can be measured: not on a CPU, nor for a part of a tower.
        whole = options.size == "real" and device.type == "cuda" and size == QWEN2_5_VL_7B
        table.goal = GOAL if whole else None
        timed = {(name, training, mode): each for name, training, mode, each in rows(towers)}
        table.add(how | {"images": f"{images} x {side * side} patches"}, timed, clock)
    if not options.grpo or _late(f"{size.name}, GRPO", options, begun):
        return True
    table.goal = None
    small, real = {"side": 8, "prompt": 8, "answer": 8}, {"side": 32, "prompt": 128, "answer": 256}
    sizes = small if options.size == "tiny" else real
    try:
        step = Step(towers, completions=options.completions, **sizes)
    except Exception as error:  # a GPU may be too small for the language model
        print(f"{size.name}, GRPO: not measured: {reason(error)}")
        clock.recover()
        return True
    if not _passes(step.check(), f"{size.name}, GRPO"):
        return False
    images = (
        f"{options.completions} answers of {sizes['answer']} tokens, an image of {sizes['side'] ** 2} patches"
    )
    table.add(how | {"images": images}, {(name, way, BOTH): each for name, way, each in step.rows()}, clock)
    return True


def _passes(mistakes: Iterable[str], what: str) -> bool:
    try:
        found = list(mistakes)
    except Exception as error:
        found = [reason(error)]
    for each in found:
        print(f"{what}: {each}; nothing is timed", file=sys.stderr)
    return not found


def _late(what: str, options: argparse.Namespace, begun: float) -> bool:
    late = bool(time.monotonic() - begun > 60 * options.minutes)
    if late:
        print(f"{what}: not measured, {options.minutes:g} minutes have passed (--minutes)")
    return late


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    begun = time.monotonic()
    options = arguments(given)
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    columns = machine(device, options.commit)
    print(title(columns))
    if options.attention is None:
        options.attention, why = attention.chosen(device, DTYPES[options.dtype])
        if device.type == "cuda":
            print(f"attention: {options.attention}" + f" ({why})" * bool(why))
    clock: Clock = CPUClock(repeats=options.repeats)
    if device.type == "cuda":
        clock = CUDAClock(device, repeats=options.repeats, budget=3000.0)
    print(tables.HEADER, flush=True)
    table = Table(options, columns)
    for size in SIZES:
        made = MADE[options.size](size)
        if size.name in options.models and not measure_model(made, options, table, clock, begun):
            return 1
    if options.out and table.lines:
        print(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

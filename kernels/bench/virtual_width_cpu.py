"""The virtual-width linear layer on a CPU, against nn.Linear, its own definition and the published algorithm.

    python kernels/bench/virtual_width_cpu.py [--repeats N] [--out FILE] [--threads N] [--only TEXT]

All rows of a shape are timed in one process, in turn, in alternating order, so that a change in the speed of
the machine meets all of them. A row's ratio is the median, over repetitions, of its time to nn.Linear's in
the same repetition. With one thread, time is CPU time of the process: other work on the machine disturbs it
less. Gates and amplitudes are given in the rows `virtual width` and `definition`; the module and `published`
compute their own.

To measure something else, such as a module, add a line to ROWS: a function that takes a Case and gives the
function that is timed, and the nn.Linear row that its ratio is to.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from skinflow_kernels import (
    band_thresholds,
    follow_weight,
    split_bands,
    virtual_width_linear,
    virtual_width_linear_reference,
)
from skinflow_kernels.published import (
    published_band_map,
    published_forward_from_spectrum,
    published_spectrum,
    router_parameters,
)

SHAPES = [(1280, 3420), (3420, 1280)]  # input and output features: the MLP of Qwen2.5-VL's vision encoder
PACKS = [(4, 1024), (16, 64)]  # images, tokens of each
BANDS = 4


@dataclass
class Case:
    """The tensors of one shape and one pack; whatever could be trained asks for its gradient."""

    columns: int
    rows: int
    images: int
    tokens: int

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        total = self.images * self.tokens
        self.segments = torch.arange(0, total + 1, self.tokens, dtype=torch.int32)
        self.x = torch.randn(total, self.columns).requires_grad_()
        self.weight = (torch.randn(self.rows, self.columns) * self.columns**-0.5).requires_grad_()
        self.bias = torch.randn(self.rows).requires_grad_()
        self.thresholds = band_thresholds(self.rows, self.columns, BANDS)
        self.bases = split_bands(self.weight.detach(), self.thresholds)
        self.band_delta = (torch.randn(self.images, BANDS) * 0.3).requires_grad_()
        self.input_gain = (1 + torch.randn(self.images, self.columns) * 0.3).requires_grad_()
        self.output_gain = (1 + torch.randn(self.images, self.rows) * 0.3).requires_grad_()
        self.dy = torch.randn(total, self.rows)

    def per_image(self) -> tuple[Tensor, Tensor, Tensor]:
        """Amplitudes and gains."""
        return self.band_delta, self.input_gain, self.output_gain


Timed = Callable[[], object]


def _gradients(case: Case, output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, case.dy)


def _linear(case: Case) -> Tensor:
    return torch.nn.functional.linear(case.x, case.weight, case.bias)


def _layer(layer: Callable[..., Tensor], case: Case, weight: Tensor, bases: Tensor, bias: Tensor) -> Tensor:
    delta, input_gain, output_gain = case.per_image()
    gains = {"input_gain": input_gain, "output_gain": output_gain}
    return layer(case.x, case.segments, weight, bases, delta, bias, **gains)


def _trained(layer: Callable[..., Tensor], case: Case) -> Timed:
    def timed() -> object:
        bases = follow_weight(case.weight, case.bases, case.thresholds)
        y = _layer(layer, case, case.weight, bases, case.bias)
        return _gradients(case, y, case.x, case.weight, case.bias, *case.per_image())

    return timed


def linear_forward(case: Case) -> Timed:
    """nn.Linear without a gradient."""

    return torch.no_grad()(lambda: _linear(case))


def linear_trained(case: Case) -> Timed:
    """nn.Linear and the gradients of x, weight and bias."""

    return lambda: _gradients(case, _linear(case), case.x, case.weight, case.bias)


def virtual_width_forward(case: Case) -> Timed:
    """Ours without a gradient."""
    return torch.no_grad()(lambda: _layer(virtual_width_linear, case, case.weight, case.bases, case.bias))


def virtual_width_frozen(case: Case) -> Timed:
    """Ours and the gradients of x, amplitudes and gains."""
    weight, bias = case.weight.detach(), case.bias.detach()
    return lambda: _gradients(
        case, _layer(virtual_width_linear, case, weight, case.bases, bias), case.x, *case.per_image()
    )


def virtual_width_trained(case: Case) -> Timed:
    """Ours and all gradients, that of the weight also through its bases."""
    return _trained(virtual_width_linear, case)


def reference_forward(case: Case) -> Timed:
    """The definition without a gradient."""
    layer = virtual_width_linear_reference
    return torch.no_grad()(lambda: _layer(layer, case, case.weight, case.bases, case.bias))


def reference_trained(case: Case) -> Timed:
    """The definition and all gradients."""
    return _trained(virtual_width_linear_reference, case)


def published(case: Case, trained: bool) -> Timed:
    """The published algorithm, without a gradient or with all of its own."""

    spectrum = published_spectrum(case.weight.detach()).requires_grad_()
    router = router_parameters(case.columns, case.rows, BANDS, scale=0.1)
    bins = published_band_map(case.rows, case.columns, BANDS)

    def forward() -> Tensor:
        return published_forward_from_spectrum(case.x, case.segments, spectrum, case.bias, router, bins)

    def both() -> object:
        return _gradients(case, forward(), case.x, spectrum, case.bias, *router.tensors().values())

    return both if trained else torch.no_grad()(forward)


def rebuild(case: Case) -> Timed:
    """What a change of the weight costs beside the step itself: its bases anew."""

    return lambda: split_bands(case.weight.detach(), case.thresholds)


def module(case: Case, trained: bool) -> Timed:
    """The whole module with its router, without a gradient or with those of x and every parameter."""
    from skinflow_plugins.vision import FDProjection

    linear = torch.nn.Linear(case.columns, case.rows)
    projection = FDProjection.from_linear(linear, BANDS, thresholds=case.thresholds)
    for parameter in projection.parameters():
        if parameter is not linear.weight:  # the heads start at zero
            torch.nn.init.normal_(parameter, std=0.05)

    def both() -> object:
        return _gradients(case, projection(case.x, case.segments), case.x, *projection.parameters())

    return both if trained else torch.no_grad()(lambda: projection(case.x, case.segments))


FORWARD, TRAINED = "linear, forward", "linear, forward and backward"
# Name of a row: what is timed, and the row that its ratio is to.
ROWS: dict[str, tuple[Callable[[Case], Timed], str]] = {
    FORWARD: (linear_forward, FORWARD),
    TRAINED: (linear_trained, TRAINED),
    "virtual width, forward": (virtual_width_forward, FORWARD),
    "virtual width, forward and backward, weight frozen": (virtual_width_frozen, TRAINED),
    "virtual width, forward and backward": (virtual_width_trained, TRAINED),
    "module with router, forward": (lambda case: module(case, False), FORWARD),
    "module with router, forward and backward": (lambda case: module(case, True), TRAINED),
    "definition, forward": (reference_forward, FORWARD),
    "definition, forward and backward": (reference_trained, TRAINED),
    "published, forward": (lambda case: published(case, False), FORWARD),
    "published, forward and backward": (lambda case: published(case, True), TRAINED),
    "bases rebuilt, once per optimizer step": (rebuild, TRAINED),
}


def measure(case: Case, repeats: int, only: str = "") -> dict[str, list[float]]:
    """Milliseconds of every repetition of every row."""
    timed = {name: make(case) for name, (make, base) in ROWS.items() if only in name or name == base}
    times: dict[str, list[float]] = {name: [] for name in timed}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for repeat in range(-1, repeats):
        for name in list(timed)[:: 1 if repeat % 2 else -1]:
            start = clock()
            timed[name]()
            if repeat >= 0:  # the one before warms up
                times[name].append((clock() - start) * 1e3)
    return times


def processor() -> str:
    """The name of the CPU."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def commit() -> str:
    """The commit of this tree, with a + where files of it have changed since."""
    told = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Measure everything, print it and write it as CSV."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="rows whose name holds this, beside nn.Linear")
    out = Path(__file__).parent / "results" / "virtual_width_cpu.csv"
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = {
        "threads": options.threads,
        "torch": torch.__version__,
        "cpu": processor(),
        "date": date.today().isoformat(),
        "commit": commit(),
    }
    lines = []
    for columns, rows in SHAPES:
        for images, tokens in PACKS:
            times = measure(Case(columns, rows, images, tokens), options.repeats, options.only)
            print(f"{columns} -> {rows}, {images} images of {tokens} tokens", flush=True)
            for name, own in times.items():
                ratios = [a / b for a, b in zip(own, times[ROWS[name][1]], strict=True)]
                line = {
                    "shape": f"{columns}->{rows}",
                    "images": images,
                    "tokens": tokens,
                    "what": name,
                    "milliseconds": round(statistics.median(own), 1),
                    "ratio": round(statistics.median(ratios), 2),
                    "ratio_to": ROWS[name][1],
                    "repeats": options.repeats,
                }
                lines.append(line | machine)
                print(f"  {name:55}{line['milliseconds']:10.1f} ms{line['ratio']:8.2f}", flush=True)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()

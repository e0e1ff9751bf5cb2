"""One run of virtual_width.py: which rows, whether they are right, what they take, and where it goes."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Sequence

import torch

from skinflow_bench import opponents, tables
from skinflow_bench.breakdown import report
from skinflow_bench.cases import DTYPES, Case, Setting
from skinflow_bench.checks import REAL_FEW, SMALL, check, check_settings
from skinflow_bench.clocks import Clock, CPUClock, CUDAClock
from skinflow_bench.floors import BOTH, FORWARD, peak_of
from skinflow_bench.machine import ceilings, machine
from skinflow_bench.measuring import Line, measure_case
from skinflow_bench.rows import LINEAR, Row, backend, layer, linear_rows, op_rows


class Run:
    """What the parts of a run share: the options, the device, the clock, and the lines written so far."""

    def __init__(self, options: Namespace, begun: float) -> None:
        self.options, self.begun = options, begun
        self.device = torch.device(options.device)
        on_gpu = self.device.type == "cuda"
        kind = (
            CUDAClock(self.device, repeats=options.repeats) if on_gpu else CPUClock(repeats=options.repeats)
        )
        self.clock: Clock = kind
        self.no_triton = no_triton(options)
        self.columns, self.peak = machine(self.device, options.commit), peak_of(self.device)
        self.measured: dict[Setting, list[Line]] = {}
        self.written: list[dict[str, str]] = []

    @property
    def elapsed(self) -> float:
        """Minutes since the run began."""
        return (time.monotonic() - self.begun) / 60

    @property
    def late(self) -> bool:
        """Whether nothing more may be begun."""
        return bool(self.elapsed > self.options.minutes)

    def rows(self) -> list[Row]:
        """The rows that --only leaves, nn.Linear among them; not those of torch.compile."""
        triton = not self.no_triton
        names = ["triton", "torch"] if triton else ["torch"]
        found = [
            *linear_rows(graphs=triton),
            *op_rows(names, graphs=triton),
            *opponents.module_rows(),
            *opponents.published_rows(),
            *opponents.definition_rows(),
        ]
        return [row for row in found if row.name == LINEAR or self._wanted(row)]

    def compiled_rows(self) -> list[Row]:
        """The rows of torch.compile that can compute one of the cases."""
        found = opponents.compiled_rows(self.options.compiled)
        return [row for row in found if self._wanted(row) and not all(map(row.cannot, self.options.settings))]

    def _wanted(self, row: Row) -> bool:
        return any(self.options.only.lower() in row.label_of(mode).lower() for mode in row.modes)

    def passes(self, rows: Sequence[Row], settings: Iterable[Setting]) -> bool:
        """Whether all rows compute the layer; prints what does not."""
        found = list(check(rows, settings, self.device))
        wrong = [f"  {what}: {mistakes}" for what, mistakes in found if mistakes]
        if wrong:
            said = f"{len(wrong)} of {len(found)} checks fail; nothing is timed:"
            print(said, *wrong, sep="\n", file=sys.stderr)
            return False
        took = f"({60 * self.elapsed:.0f} s)"
        print(f"{len(found)} checks of output and gradients against the definition passed {took}", flush=True)
        return True

    def head(self) -> None:
        """Print what the figures are measured against."""
        dtype = DTYPES[self.options.dtypes[0]]
        if self.device.type == "cuda":
            self.columns |= (found := ceilings(self.device, dtype))
            print("here a product reaches {product_tflops} TFLOP/s, a copy {copy_tbs} TB/s".format(**found))
        if self.peak:
            flops = f"{self.peak.flops(dtype) / 1e12:g} TFLOP/s in {self.options.dtypes[0]}"
            print(f"floor: {flops}, {self.peak.bandwidth:g} TB/s: {self.peak.source}")
        else:
            print("no floor: this device is not in the table of peaks (skinflow_bench/floors.py)")
        print(tables.HEADER)

    def time(self, rows: Sequence[Row], settings: Iterable[Setting]) -> None:
        """Time every case for which there is time, print it, and write the CSV file after each."""
        for setting in settings:
            if self.late:
                print(f"{setting}: not measured, {self.options.minutes:g} minutes have passed (--minutes)")
                continue
            lines = measure_case(Case(setting, self.device), rows, self.clock, self.peak, self.options.only)
            self.measured.setdefault(setting, []).extend(lines)
            print(f"{setting} ({60 * self.elapsed:.0f} s)")
            for line in lines:
                figures = tables.figures(line.samples, line.ratio, line.ratio_to, line.floor)
                print(tables.text(line.label, figures, line.why))
                where = {"shape": setting.shape, "pack": setting.pack, "bands": str(setting.bands)}
                what = {"dtype": setting.dtype, "row": line.row, "training": line.training, "mode": line.mode}
                self.written.append(where | what | figures | {"why": line.why} | self.columns)
            sys.stdout.flush()
            if self.options.out:
                tables.write(self.options.out, self.written)

    def break_down(self) -> None:
        """Print where the time of the first case goes, forward and with backward."""
        case = Case(self.options.settings[0], self.device)
        name = "torch" if self.no_triton else "triton"
        for training, mode in (
            ("frozen", FORWARD),
            ("frozen", BOTH),
            ("fixed bases", BOTH),
            ("trained", BOTH),
        ):
            timed = layer(backend(name), training)(case).timed(mode, case.dy)
            print(*report(f"{name}, {training}, {mode}: {case.setting}", timed, self.device), sep="\n")
        module = next(opponents.module_rows())
        timed = module.prepare(case).timed(BOTH, case.dy)
        print(*report(f"{module.label}, {BOTH}: {case.setting}", timed, self.device), sep="\n", flush=True)


def no_triton(options: Namespace) -> str:
    """Why Triton's kernels cannot be timed here; "" where they can."""
    from skinflow_kernels import explain

    if not options.device.startswith("cuda"):
        return "the Triton interpreter is never timed"
    reasons = (explain(options.device, DTYPES[dtype]).reasons.get("triton", "") for dtype in options.dtypes)
    return next(filter(None, reasons), "")


def to_check(options: Namespace) -> list[Setting]:
    """The cases for the check; with --quick one of the real shape."""
    found = check_settings(options.settings[0], options.bands, options.dtypes)
    return [s for s in found if not options.quick or s.shape == SMALL or s.pack == REAL_FEW]

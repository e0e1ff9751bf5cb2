"""The op of one revision, timed in a process of its own; `revisions` starts it and speaks to it.

Requests are lines of JSON on standard input: {"check": [setting, ...]} gives what is wrong; {"time": setting,
...} gives the milliseconds of one turn. Answers are lines of JSON on what was standard output; all else that
is printed goes to standard error. Nothing here uses more of skinflow_kernels than has always been there.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any, TextIO

import torch

import skinflow_kernels
from skinflow_bench import VARIABLE
from skinflow_bench.cases import Case, Setting
from skinflow_bench.checks import check
from skinflow_bench.clocks import Clock, CPUClock, CUDAClock, Timed, measure
from skinflow_bench.rows import Row, op_rows


@dataclass
class Worker:
    """Answers requests; keeps what it has prepared for a setting from one turn to the next."""

    device: torch.device
    clock: Clock
    only: str = ""
    rows: list[Row] = field(default_factory=lambda: list(op_rows(["auto"])))
    setting: Setting | None = None
    timed: dict[str, Timed] = field(default_factory=dict)

    def answer(self, request: dict[str, Any]) -> object:
        """The answer to one request."""
        if "check" in request:
            settings = [Setting(*each) for each in request["check"]]
            return [f"{what}: {wrong}" for what, wrong in check(self.rows, settings, self.device) if wrong]
        self._prepare(Setting(*request["time"]))
        samples, why = measure(self.clock, self.timed)
        return {
            "milliseconds": {name: list(each.milliseconds.values()) for name, each in samples.items()},
            "why": why,
        }

    def _prepare(self, setting: Setting) -> None:
        if setting == self.setting:
            return
        self.timed.clear()  # before the next case takes memory
        case = Case(setting, self.device)
        for row in self.rows:
            for mode in row.modes:
                if self.only.lower() in row.label_of(mode).lower():
                    self.timed.setdefault(row.label_of(mode), row.prepare(case).timed(mode, case.dy))
        self.setting = setting


def main() -> None:
    """Answer until the input ends."""
    answers: TextIO = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr
    device, repeats, threads, only = (
        torch.device(sys.argv[1]),
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4],
    )
    torch.set_num_threads(threads)
    clock = CUDAClock(device, repeats=repeats) if device.type == "cuda" else CPUClock(repeats=repeats)
    worker = Worker(device, clock, only)
    found = os.path.realpath(skinflow_kernels.__file__)
    if not found.startswith(os.path.realpath(os.environ[VARIABLE]) + os.sep):
        raise SystemExit(f"skinflow_kernels came from {found}, not from {os.environ[VARIABLE]}")
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()

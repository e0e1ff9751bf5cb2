"""This tree's skinflow_kernels against another revision's: two processes, timed in turns, A B A B.

The other revision is taken out of git into a temporary folder, or it is a folder that holds
kernels/skinflow_kernels. Both are timed by this tree's benchmark, through
`skinflow_kernels.virtual_width_linear`.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from skinflow_bench import BENCH, ROOT, VARIABLE
from skinflow_bench.cases import Setting


class NoBase(ValueError):
    """There is nothing to compare with."""


@contextmanager
def tree_of(base: str) -> Iterator[Path]:
    """A folder with the kernels of a revision, or that folder itself. NoBase when there are none."""
    if Path(base).is_dir():
        if not (Path(base) / "kernels" / "skinflow_kernels").is_dir():
            raise NoBase(f"--base {base}: this folder holds no kernels/skinflow_kernels")
        yield Path(base).resolve()
        return
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", base, "kernels/skinflow_kernels"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise NoBase("--base needs git, or a folder that holds kernels/skinflow_kernels") from error
    if done.returncode:
        raise NoBase(f"--base {base}: {done.stderr.decode(errors='replace').strip()}")
    with tempfile.TemporaryDirectory(prefix="skinflow-base-") as folder:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


class Process:
    """A worker with the kernels of one tree."""

    def __init__(self, tree: Path, device: torch.device, repeats: int, threads: int, only: str) -> None:
        how = [str(device), str(repeats), str(threads), only]
        command = [sys.executable, "-m", "skinflow_bench.worker", *how]
        path = os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH", ""))))
        environment = os.environ | {VARIABLE: str(tree / "kernels"), "PYTHONPATH": path}
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **request: object) -> Any:
        """The worker's answer. RuntimeError when it died; what it said is on standard error already."""
        assert self._child.stdin
        assert self._child.stdout
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the empty answer says so
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that timed a revision ended with code {self._child.wait()}")
        return json.loads(line)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()


FIGURES = ("ms", "base_ms", "ratio", "ratio_least", "ratio_most")


def compare(
    own: Process, other: Process, settings: Sequence[Setting], turns: int
) -> Iterator[dict[str, str]]:
    """For every setting and row: the median milliseconds of either, and of all turns' ratios the median."""
    for setting in settings:
        taken = [
            (mine.ask(time=astuple(setting)), theirs.ask(time=astuple(setting)))
            for mine, theirs in [(own, other)] * turns
        ]
        sides = dict(zip(("this tree", "the base"), zip(*taken, strict=True), strict=True))
        answers = list(chain.from_iterable(taken))
        for row in dict.fromkeys(row for each in answers for row in (*each["milliseconds"], *each["why"])):
            line = {"setting": str(setting), "row": row} | dict.fromkeys((*FIGURES, "why"), "")
            failed = {
                f"{name}: {each['why'][row]}"
                for name, side in sides.items()
                for each in side
                if row in each["why"]
            }
            if failed:
                yield line | {"why": "; ".join(sorted(failed))}
            else:
                yield line | _figures(
                    *([each["milliseconds"][row] for each in side] for side in sides.values())
                )


def _figures(own: list[list[float]], other: list[list[float]]) -> dict[str, str]:
    ratios = [statistics.median(a) / statistics.median(b) for a, b in zip(own, other, strict=True)]
    values = (
        statistics.median(chain.from_iterable(own)),
        statistics.median(chain.from_iterable(other)),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
    )
    return {name: f"{value:.4g}" for name, value in zip(FIGURES, values, strict=True)}

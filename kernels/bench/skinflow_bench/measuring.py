"""The timings of a case, as lines of a table: one for each row and mode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from skinflow_bench.cases import Case
from skinflow_bench.clocks import Clock, Samples, Timed, measure, reason
from skinflow_bench.floors import BOTH, FORWARD, Peak, Work, layer_work, linear_work
from skinflow_bench.graphs import as_graph
from skinflow_bench.rows import LINEAR, Row
from skinflow_kernels import split_bands

REBUILD = "bases rebuilt, once per optimizer step"


@dataclass(frozen=True)
class Line:
    """What was measured of one row in one mode; `why` there are no figures, or ""."""

    row: str
    training: str
    mode: str
    samples: Samples | None
    ratio: float | None
    ratio_to: str
    floor: float | None
    why: str = ""

    @property
    def label(self) -> str:
        """Row, training and mode, as `--only` looks for a text in it."""
        return ", ".join(part for part in (self.row, self.training, self.mode) if part)

    @property
    def share(self) -> float | None:
        """The part of the time that the floor accounts for: 1 is reached by nobody."""
        return (
            None if self.samples is None or self.floor is None else self.floor / self.samples.quantiles()[1]
        )


def measure_case(
    case: Case, rows: Iterable[Row], clock: Clock, peak: Peak | None, only: str = ""
) -> list[Line]:
    """Time every row in every mode, nn.Linear first; `only` those whose label holds a text, and nn.Linear.

    Forward does not depend on what is trained: it is timed once for each name.
    """
    planned = _plan(rows, only)
    timed: dict[str, Timed] = {}
    why: dict[str, str] = {}
    for label, (row, mode) in planned.items():
        if refused := row.cannot(case.setting):
            why[label] = refused
            continue
        try:
            made = row.prepare(case).timed(mode, case.dy)
            timed[label] = as_graph(made, case.device) if row.graph else made
        except Exception as error:
            why[label] = reason(error)
            clock.recover()
    if _wanted(REBUILD, only):
        timed[REBUILD] = Timed(lambda _: split_bands(case.weight.detach(), case.thresholds))
    bases = {_base(row, mode) for row, mode in planned.values()}
    samples, failed = measure(clock, timed, bases)
    why |= failed

    lines = []
    for label, (row, mode) in planned.items():
        base = _base(row, mode)
        found, to = samples.get(label), samples.get(base)
        if found and row.graph:
            found.peak = None  # a graph has taken its memory before
        lines.append(
            Line(
                row.name,
                "" if mode == FORWARD else row.training,
                mode,
                found,
                found.ratio(to) if found and to else None,
                base,
                _floor(case, row, mode, peak),
                why.get(label, ""),
            )
        )
    if REBUILD in timed:
        found, base = samples.get(REBUILD), f"{LINEAR}, trained, {BOTH}"
        to = samples.get(base)
        ratio = found.ratio(to) if found and to else None
        lines.append(Line(REBUILD, "", "", found, ratio, base, None, why.get(REBUILD, "")))
    return lines


def _plan(rows: Iterable[Row], only: str) -> dict[str, tuple[Row, str]]:
    found: dict[str, tuple[Row, str]] = {}
    for row in rows:
        for mode in row.modes:
            label = row.label_of(mode)
            always = row.name.startswith(LINEAR) and row.training == "trained"
            if label not in found and (always or _wanted(label, only)):
                found[label] = (row, mode)
    # A base that nothing else is compared with would only take time.
    needed = {_base(row, mode) for row, mode in found.values() if row.name != f"{LINEAR}, CUDA graph"}
    return {
        label: each
        for label, each in found.items()
        if not each[0].graph or not each[0].name.startswith(LINEAR) or label in needed or _wanted(label, only)
    }


def _base(row: Row, mode: str) -> str:
    """What a row's time is compared with: nn.Linear with all of its gradients, in the same mode."""
    name = f"{LINEAR}, CUDA graph" if row.graph else LINEAR
    return f"{name}, {mode}" if mode == FORWARD else f"{name}, trained, {mode}"


def _wanted(label: str, only: str) -> bool:
    return only.lower() in label.lower()


def _floor(case: Case, row: Row, mode: str, peak: Peak | None) -> float | None:
    if peak is None:
        return None
    work: Work
    if row.name.startswith(LINEAR):
        work = linear_work(case.sizes, mode, frozen=row.training == "frozen")
    else:
        work = layer_work(case.sizes, mode, training=row.training)
    return work.milliseconds(peak, case.dtype)

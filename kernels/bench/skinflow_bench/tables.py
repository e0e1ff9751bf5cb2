"""Lines as a table to read and as a CSV file, which is written anew after every case."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from skinflow_bench.clocks import Samples

FIGURES = (
    "ms_20",
    "ms_50",
    "ms_80",
    "ratio",
    "ratio_to",
    "floor_ms",
    "of_floor",
    "peak_mib",
    "host_ms",
    "rounds",
)


def figures(
    samples: Samples | None, ratio: float | None, ratio_to: str, floor: float | None = None
) -> dict[str, str]:
    """The columns of a measurement; empty where there is none."""
    if samples is None:
        return dict.fromkeys(FIGURES, "")
    low, middle, high = samples.quantiles()
    return {
        "ms_20": number(low),
        "ms_50": number(middle),
        "ms_80": number(high),
        "ratio": number(ratio),
        "ratio_to": ratio_to,
        "floor_ms": number(floor),
        "of_floor": number(None if floor is None else floor / middle),
        "peak_mib": number(None if samples.peak is None else samples.peak / 2**20),
        "host_ms": number(samples.host),
        "rounds": str(len(samples.milliseconds)),
    }


def number(value: float | None) -> str:
    """Four digits, without an exponent for large numbers; nothing for nothing."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


HEADER = " " * 50 + "  ms: 20 %     50 %     80 %   ratio    floor  of it     MiB  host ms"


def text(label: str, columns: Mapping[str, str], why: str = "") -> str:
    """A line to read under HEADER."""
    if why:
        return f"  {label:48}  {why}"
    share = f"{float(columns['of_floor']):.0%}" if columns["of_floor"] else ""
    ratio = f"{float(columns['ratio']):.2f}" if columns["ratio"] else ""
    return (
        f"  {label:48}{columns['ms_20']:>10}{columns['ms_50']:>9}{columns['ms_80']:>9}{ratio:>8}"
        f"{columns['floor_ms']:>9}{share:>7}{columns['peak_mib']:>8}{columns['host_ms']:>9}"
    )


def write(path: Path, lines: Sequence[Mapping[str, str]]) -> None:
    """Write the CSV file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)

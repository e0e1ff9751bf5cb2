"""The goals of the kernels on an H100 or H200, and what a run has reached of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from skinflow_bench.cases import QWEN2_5, Setting
from skinflow_bench.floors import BOTH, FORWARD
from skinflow_bench.measuring import Line


@dataclass(frozen=True)
class Target:
    """At most `ratio` times nn.Linear's time, in bf16 with four bands, for both shapes of Qwen2.5-VL."""

    pack: str
    mode: str
    ratio: float


TARGETS = (
    Target("16x1024", FORWARD, 1.15),
    Target("4x4096", FORWARD, 1.08),
    Target("16x256", FORWARD, 1.9),
    Target("16x1024", BOTH, 1.2),
    Target("4x4096", BOTH, 1.1),
)
FASTER_THAN_PUBLISHED = 10.0
"""At 1,024 tokens, forward and forward with backward."""


def reached(measured: Mapping[Setting, Sequence[Line]]) -> Iterator[str]:
    """A line for each target of which there is a figure, by the op with Triton's kernels."""
    for target in TARGETS:
        for shape in QWEN2_5:
            lines = measured.get(Setting(shape, target.pack, 4, "bf16"), ())
            for line in lines:
                if line.row.startswith("triton") and line.mode == target.mode and line.ratio:
                    said = "reached" if line.ratio <= target.ratio else "NOT reached"
                    what = f"{shape}, {target.pack}: {line.label}"
                    yield f"{said:12}{what}: {line.ratio:.3f}, goal {target.ratio}"
    for shape in QWEN2_5:
        lines = measured.get(Setting(shape, "16x1024", 4, "bf16"), ())
        for mode in (FORWARD, BOTH):
            ours = _milliseconds(lines, "triton", mode)
            theirs = _milliseconds(lines, "published", mode)
            if ours and theirs:
                said = "reached" if theirs / ours >= FASTER_THAN_PUBLISHED else "NOT reached"
                yield (
                    f"{said:12}{shape}, 16x1024, {mode}: {theirs / ours:.1f} times as fast as the published "
                    f"algorithm, goal {FASTER_THAN_PUBLISHED:g}"
                )


def _milliseconds(lines: Sequence[Line], row: str, mode: str) -> float | None:
    for line in lines:
        if line.row == row and line.mode == mode and line.training in ("", "trained") and line.samples:
            return line.samples.quantiles()[1]
    return None

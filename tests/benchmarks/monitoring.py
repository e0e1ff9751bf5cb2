"""What watching a training costs: milliseconds per step of 2,560 completions, and memory, with versions.

OMP_NUM_THREADS=1 python tests/benchmarks/monitoring.py
"""

from __future__ import annotations

import importlib.util
import platform
import sys
import time
import tracemalloc
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from skinflow_plugins.monitoring import AlarmSettings, Monitor, step_report

STEPS, PROMPTS, GENERATIONS = 45, 512, 5  # 512 x 5: the step of EasyR1's baselines, 120 to 145 s on 8 H100
WORDS = 300


def main() -> None:
    """Print the cost of a step: with short answers, with reasoning, and of its report alone."""
    trainings = load()
    for name, words in (("lists of six", 0), (f"{WORDS} words of reasoning", WORDS)):
        training = trainings.Training(seed=0, steps=STEPS, prompts=PROMPTS, generations=GENERATIONS)
        steps = [with_reasoning(lines, words, training) for lines in training]
        reports, watched = [], []
        monitor = Monitor(AlarmSettings())
        for lines in steps:
            started = time.perf_counter()
            step_report(lines, trainings.WEIGHTS)
            between = time.perf_counter()
            monitor.add(lines, training.evaluations, trainings.WEIGHTS)
            reports.append(between - started)
            watched.append(time.perf_counter() - between)
        late = watched[2 * monitor.settings.window :]
        print(
            f"{name}, 3 rewards: {1000 * median(late):.0f} ms for a step of {len(steps[0]):,} completions "
            f"({1000 * min(late):.0f} at best), of which its line {1000 * median(reports):.0f} ms"
        )
        monitor = Monitor(AlarmSettings())
        tracemalloc.start()
        for lines in steps:
            monitor.add(lines, (), trainings.WEIGHTS)
        print(f"    memory after {STEPS} steps: {tracemalloc.get_traced_memory()[0] / 2**20:.1f} MiB")
        tracemalloc.stop()
    print(f"Python {platform.python_version()}, numpy {version('numpy')}, {platform.machine()}, one process")


def with_reasoning(lines: list[dict[str, Any]], words: int, training: Any) -> list[dict[str, Any]]:
    """The lines with so many words of reasoning before each answer."""
    if not words:
        return lines
    vocabulary = [f"word{n}" for n in range(2_000)]
    return [
        {
            **line,
            "completion": f"<think>{' '.join(training.rng.choice(vocabulary, words))}</think>"
            f"<answer>{line['completion']}</answer>",
        }
        for line in lines
    ]


def load() -> Any:
    """The trainings of the tests."""
    file = Path(__file__).resolve().parent.parent / "monitoring" / "example_training.py"
    spec = importlib.util.spec_from_file_location("example_training", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()

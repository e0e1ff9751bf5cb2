"""Samples per second of hierarchical precision, recall and F1: ours and hiclass's, from text, on one core.

    python tests/benchmarks/diagnosis_hierarchy.py [--samples 100000] [--hiclass 5000] [--repeats 5]

114 labels at the third level of a tree with 3 and 9 groups, in the forms in which a user can have them. The
time contains the reading of the text. hiclass gets fewer samples: its time is proportional to their number.
Both must agree within 1e-12 before a rate is printed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import hiclass.metrics
import numpy as np

from skinflow_plugins.diagnosis import hierarchy

LABELS, GROUPS, TOP = 114, 9, 3


def paths(rng: np.random.Generator, samples: int) -> np.ndarray:
    """(samples, 3) array of text, root first; every label has one group, and every group one above it."""
    label = rng.integers(0, LABELS, samples)
    group = label % GROUPS
    levels = [
        [f"partition number {i}" for i in (group % TOP).tolist()],
        [f"group of diagnoses {i}" for i in group.tolist()],
        [f"name of a diagnosis {i}" for i in label.tolist()],
    ]
    return np.array(levels).T


def rate(score: Callable[..., float], true: Any, predicted: Any, average: str, repeats: int) -> float:
    """Samples per second, the median of the repeats."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        score(true, predicted, average)
        seconds.append(time.perf_counter() - begun)
    return len(true) / statistics.median(seconds)


def forms(samples: int) -> dict[str, tuple[Any, Any]]:
    """Truths and predictions by the name of their form."""
    rng = np.random.default_rng(0)
    true, predicted = paths(rng, samples), paths(rng, samples)
    second, other = paths(rng, samples), paths(rng, samples)
    return {
        "array of text": (true, predicted),
        "array of objects": (true.astype(object), predicted.astype(object)),
        "lists": (true.tolist(), predicted.tolist()),
        "array, two paths each": (np.stack([true, second], axis=1), np.stack([predicted, other], axis=1)),
    }


def main() -> None:
    """Print one line per form, score and average."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--hiclass", type=int, default=5_000, help="samples that hiclass gets")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # F1 is undefined for many random answers
    versions = ", ".join(f"{name} {version(name)}" for name in ("hiclass", "numpy", "scikit-learn"))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {versions}")
    print(f"{options.samples} samples, hiclass {options.hiclass}; samples per second, median of repeats\n")
    print(f"{'form':24}{'score':11}{'average':9}{'ours':>12}{'hiclass':>12}{'ratio':>9}")
    slowest = float("inf")
    for form, (true, predicted) in forms(options.samples).items():
        few = true[: options.hiclass], predicted[: options.hiclass]
        for name in ("precision", "recall", "f1"):
            ours, theirs = getattr(hierarchy, name), getattr(hiclass.metrics, name)
            for average in ("micro", "macro"):
                if abs(ours(*few, average) - theirs(*few, average)) > 1e-12:
                    sys.exit(f"{form}, {name}, {average}: the two differ, so their speed says nothing")
                fast = rate(ours, true, predicted, average, options.repeats)
                slow = rate(theirs, *few, average, 1)
                slowest = min(slowest, fast)
                print(f"{form:24}{name:11}{average:9}{fast:12,.0f}{slow:12,.0f}{fast / slow:8,.0f}x")
    print(f"\nslowest of ours: {slowest:,.0f} samples per second")


if __name__ == "__main__":
    main()

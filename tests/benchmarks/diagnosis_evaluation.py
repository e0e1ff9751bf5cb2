"""How fast answers are read and matched, and a whole evaluation is: rates of one process, with versions.

OMP_NUM_THREADS=1 python tests/benchmarks/diagnosis_evaluation.py
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import numpy as np

from skinflow_plugins.data import Prediction
from skinflow_plugins.diagnosis import evaluate, load_taxonomy, parse_answer

ANSWERS = 16_577  # the size of Fitzpatrick17k
REPEATS = 3


def main() -> None:
    """Print the rates."""
    tree = load_taxonomy("fitzpatrick17k")
    random = np.random.default_rng(0)
    spellings = [text for c in tree.concepts.values() for text in (c.name, *c.aliases)]
    labels = [concept.name for concept in tree.labels()]
    answers = ["; ".join(random.choice(spellings, 6)) for _ in range(ANSWERS)]

    def read() -> None:
        for answer in answers:
            for item in parse_answer(answer, 6, known=tree.knows):
                tree.resolve(item)

    read()
    print(f"parse and resolve six names, warm: {ANSWERS / best(read):,.0f} answers/s")
    new = [f"{random.choice(spellings)}{random.choice(list('abcdefgh'))}{i}" for i in range(1500)]
    slips = [
        text.replace("a", "e", 1) + "x" * (i % 2) for i, text in enumerate(random.choice(spellings, 1500))
    ]
    for what, texts in (("unknown", new), ("misspelt", list(dict.fromkeys(slips)))):
        started = time.perf_counter()
        for text in texts:
            tree.resolve(text)
        print(f"{what} names never seen before: {len(texts) / (time.perf_counter() - started):,.0f}/s")
    predictions = [
        Prediction(str(i), "diagnosis", answer, {"diagnosis": labels[i % 114], "skin_tone": str(1 + i % 6)})
        for i, answer in enumerate(answers)
    ]
    for draws in (0, 1000):
        seconds = best(partial(evaluate, predictions, tree, bootstrap=draws))
        print(f"evaluate {ANSWERS:,} answers with {draws} resamples: {seconds:.2f} s")
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "rapidfuzz"))
    print(f"Python {platform.python_version()}, {packages}, {platform.machine()}")


def best(work: Callable[[], object]) -> float:
    """The shortest of a few runs, in seconds."""
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()

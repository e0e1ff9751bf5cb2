"""How fast the rule rewards of Stage II score a batch of ranked lists: completions per second of one core.

OMP_NUM_THREADS=1 python tests/benchmarks/stage2_rewards.py

All five are called as in training, one after the other over the batch. No answer is scored twice: "warm"
means that the taxonomy and the spellings of the names were met before, not that an answer was. Times are of
the CPU, so that a busy machine matters little; the best of several batches counts.
"""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from skinflow_plugins.declare import Reward
from skinflow_plugins.diagnosis import load_taxonomy
from skinflow_plugins.rewards import (
    abstain,
    answer_form,
    call_reward,
    confidence,
    hierarchy_credit,
    length,
    ranked_diagnosis,
    repetition,
    safety,
)

TAXONOMY = "fitzpatrick17k"
BATCH = 2_000
REPEATS = 7
ITEMS = 6
STAGE: list[tuple[Reward, dict[str, Any]]] = [
    (ranked_diagnosis, {"taxonomy": TAXONOMY}),
    (hierarchy_credit, {"taxonomy": TAXONOMY}),
    (safety, {"taxonomy": TAXONOMY}),
    (answer_form, {"form": "ranked_list"}),
    (abstain, {"taxonomy": TAXONOMY}),
]
OTHERS: list[tuple[Reward, dict[str, Any]]] = [
    (confidence, {"taxonomy": TAXONOMY}),
    (length, {}),
    (repetition, {}),
]


def main() -> None:
    """Print the rates."""
    chance = random.Random(0)
    started = time.process_time()
    tree = load_taxonomy(TAXONOMY)
    loaded = time.process_time() - started
    spellings = [text for c in tree.concepts.values() for text in (c.name, *c.aliases) if "," not in text]
    labels = [label.name for label in tree.labels()]

    def batch() -> tuple[list[str], dict[str, list[Any]]]:
        """Answers that were never seen, with their samples."""
        answers = ["; ".join(chance.sample(spellings, ITEMS)) for _ in range(BATCH)]
        return answers, {"id": list(range(BATCH)), "diagnosis": [chance.choice(labels) for _ in range(BATCH)]}

    cold = seconds(STAGE, *batch())
    print(f"loading the taxonomy: {loaded:.2f} s")
    print(f"first batch of {BATCH} (nothing met before), five rewards: {BATCH / cold:,.0f} completions/s")
    warm = min(seconds(STAGE, *batch()) for _ in range(REPEATS))
    print(f"warm, five rewards, the answer read once: {BATCH / warm:,.0f} completions/s (goal 5,000)")
    for each in STAGE:
        alone = min(seconds([each], *batch()) for _ in range(REPEATS))
        print(f"    {each[0].name} alone, with reading: {BATCH / alone:,.0f}/s")
    for reward, options in OTHERS:
        alone = min(seconds([(reward, options)], *batch()) for _ in range(REPEATS))
        print(f"    {reward.name} alone, with reading: {BATCH / alone:,.0f}/s")
    print(f"Python {platform.python_version()}, rapidfuzz {version('rapidfuzz')}, {platform.machine()}")


def seconds(
    rewards: Sequence[tuple[Reward, dict[str, Any]]], answers: list[str], columns: dict[str, list[Any]]
) -> float:
    """How long these rewards take on this batch."""
    started = time.process_time()
    for reward, options in rewards:
        call_reward(reward, answers, columns, options)
    return time.process_time() - started


if __name__ == "__main__":
    main()

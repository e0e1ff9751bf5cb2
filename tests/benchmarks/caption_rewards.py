"""How many captions of 120 tokens the rewards of Stage I score in a second, beside rouge_score and sacrebleu.

OMP_NUM_THREADS=1 python tests/benchmarks/caption_rewards.py
"""

from __future__ import annotations

import logging
import platform
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sacrebleu
import yaml
from rouge_score import rouge_scorer

from skinflow_plugins.diagnosis import load_taxonomy, write_caption
from skinflow_plugins.diagnosis.caption_leak import leak_in
from skinflow_plugins.diagnosis.overlap import bleu, rouge_l
from skinflow_plugins.rewards import caption_fields, caption_overlap
from skinflow_plugins.rewards.calling import call_reward

RECIPE = Path(__file__).parents[2] / "recipes" / "skinflow_qwen2_5_vl_7b.yaml"
PAIRS = 2_000
PER_SAMPLE = 8  # answers to one sample, as in GRPO
TOKENS = 120
REPEATS = 5
SENTENCES = (
    "The image shows a {lesion_type} of {size} size on the {location} with a {border} border.",
    "Its colour is {colour}, and its shape is {shape}.",
    "The surface is {surface}, without crusting or bleeding, and no other lesion is seen.",
    "The distribution is {distribution}; the surrounding skin appears normal and is not inflamed.",
    "A well-demarcated {colour} area with fine silvery scale lies beside it, about two centimetres wide.",
)


def main() -> None:
    """Print the rates."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    fields = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["captions"]
    rng = random.Random(0)
    truths = [{n: [rng.choice(v)] for n, v in fields.items()} for _ in range(PAIRS // PER_SAMPLE)]
    samples = [truth for truth in truths for _ in range(PER_SAMPLE)]
    texts = [prose(rng, fields) for _ in range(PAIRS)]
    references = [text for text in (prose(rng, fields) for _ in truths) for _ in range(PER_SAMPLE)]
    forms = [write_caption({n: [rng.choice(v)] for n, v in fields.items()}) for _ in range(PAIRS)]
    ids = [str(i) for i in range(PAIRS)]
    print(
        f"{PAIRS:,} pairs, {TOKENS} tokens, {PER_SAMPLE} answers to a sample, one process; pairs per second"
    )

    def scored(reward: Any, answers: Sequence[str], caption: Sequence[Any], **options: Any) -> None:
        call_reward(reward, answers, {"id": ids, "caption": caption}, options)

    theirs = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    few = list(zip(texts, references, strict=True))[:: PAIRS // 200]
    works: list[tuple[str, Callable[[], object], int]] = [
        ("caption_fields, sentences", partial(scored, caption_fields, texts, samples, fields=fields), PAIRS),
        (
            "caption_fields, field: value",
            partial(scored, caption_fields, forms, samples, fields=fields),
            PAIRS,
        ),
        ("caption_overlap, ROUGE-L", partial(scored, caption_overlap, texts, references), PAIRS),
        ("caption_overlap, BLEU", partial(scored, caption_overlap, texts, references, measure="bleu"), PAIRS),
        ("rouge_l alone", lambda: [rouge_l(a, b) for a, b in few], len(few)),
        ("rouge_score itself", lambda: [theirs.score(b, a) for a, b in few], len(few)),
        ("bleu alone", lambda: [bleu(a, b) for a, b in few], len(few)),
        ("sacrebleu itself", lambda: [sacrebleu.sentence_bleu(a, [b]) for a, b in few], len(few)),
        ("leaks looked for", partial(leaks, texts), PAIRS),
    ]
    for name, work, pairs in works:
        work()  # warm
        print(f"{name:>30}: {pairs / best(work):10,.0f}")
    packages = ", ".join(f"{name} {version(name)}" for name in ("rapidfuzz", "rouge-score", "sacrebleu"))
    print(f"Python {platform.python_version()}, {packages}, {platform.machine()}")


def prose(rng: random.Random, fields: dict[str, list[str]]) -> str:
    """A description of so many words."""
    words: list[str] = []
    while len(words) < TOKENS:
        values = {name: rng.choice(known) for name, known in fields.items()}
        words += rng.choice(SENTENCES).format(**values).split()
    return " ".join(words[:TOKENS])


def leaks(texts: Sequence[str]) -> None:
    """Look for names of diagnoses."""
    tree = load_taxonomy("fitzpatrick17k")
    for text in texts:
        leak_in(text, tree)


def best(work: Callable[[], object]) -> float:
    """The shortest of a few runs, in seconds of processor time: other work on the machine does not count."""
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


if __name__ == "__main__":
    main()

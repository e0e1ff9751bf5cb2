"""The reward `repetition`: how little an answer repeats itself. It says nothing of truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.rewards.words import sentences_of, words_of


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return "nothing here stands twice"


@reward("repetition", reference=_reference, content=False)
def repetition(answer: str, *, n: int = 3, allowed: float = 0.0, **sample: Any) -> Score:
    """1 when nothing is repeated, falling to 0 with the share that is.

    Two shares are taken, and the larger counts: of the runs of `n` words, those that stood before; and of the
    sentences, lines and list items, those that stood before. A share up to `allowed` costs nothing; above it
    the value falls in a straight line to 0 where everything is a repetition. In an answer of few words the
    runs are shorter, down to single words, so that "nevus nevus" is a repetition. An answer without words
    earns 0. The form is ours.
    """
    if n < 1:
        raise ValueError(f"option n must be at least 1, found {n}")
    if not 0 <= allowed < 1:
        raise ValueError(f"option allowed must be at least 0 and below 1, found {allowed}")
    words = words_of(answer)
    if not words:
        return Score(0.0, None, "there are no words")
    size = min(n, (len(words) + 1) // 2)
    runs = _repeated(list(zip(*(words[start:] for start in range(size)), strict=False)))
    sentences = _repeated(sentences_of(answer))
    share = max(runs, sentences)
    value = 1.0 if share <= allowed else 1 - (share - allowed) / (1 - allowed)
    why = f"{runs:.0%} of the runs of {size} words and {sentences:.0%} of the sentences are repetitions"
    return Score(value, {"runs": runs, "sentences": sentences}, why)


def _repeated(parts: Sequence[object]) -> float:
    """The share of the parts that stood before."""
    return 1 - len(set(parts)) / len(parts) if parts else 0.0

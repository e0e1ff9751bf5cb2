"""The reward `length`: whether an answer has about as many words as asked for. It says nothing of truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.declare import Score, reward
from skinflow_plugins.rewards.words import words_of


def _reference(sample: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return " ".join(["word"] * options.get("at_least", 1))


@reward("length", reference=_reference, content=False)
def length(answer: str, *, at_least: int = 1, at_most: int = 64, flank: int = 32, **sample: Any) -> Score:
    """1 for an answer of `at_least` to `at_most` words, falling to 0 over `flank` words on either side.

    The fall is linear; below the window it is never longer than the window's lower end, so that an answer
    without words earns 0. Words are runs of letters and digits, in the whole completion with its thinking; a
    run of more than 24 characters counts as several. `flank: 0` makes the edges sharp.

        length("three short words", at_least=4, at_most=9, flank=2)  # 0.5
    """
    if not 1 <= at_least <= at_most:
        raise ValueError(f"options must be 1 <= at_least <= at_most, found {at_least} and {at_most}")
    if flank < 0:
        raise ValueError(f"option flank must not be negative, found {flank}")
    n = len(words_of(answer))
    if at_least <= n <= at_most:
        return Score(1.0, n, f"{n} words, within {at_least} to {at_most}")
    if n < at_least:
        width, beyond, side = min(flank, at_least), at_least - n, "below"
    else:
        width, beyond, side = flank, n - at_most, "above"
    value = max(1 - beyond / width, 0.0) if width else 0.0
    return Score(value, n, f"{n} words, {beyond} {side} the window of {at_least} to {at_most}")

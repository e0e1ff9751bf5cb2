"""How often completions agree, to the same prompt and to different ones, over a moving window of steps."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.monitoring.step import Step

LETTERS = 2_000
"""Of each part, that are compared; a completion may have 100,000."""
LEAST_WORDS = 8
"""Of a reasoning: "<think></think>" agrees with itself and means nothing."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_END = "</think>"
PARTS = ("answer", "reasoning")


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a window says of one part of its completions; shares are of pairs that agree."""

    completions: int
    prompts: int
    distinct: int
    across: float
    within: float

    @property
    def kappa(self) -> float:
        """How far agreement within prompts exceeds that across them, of what it could: Fleiss' kappa."""
        return (self.within - self.across) / (1 - self.across) if self.across < 1 else 0.0


def parts_of(completion: str) -> dict[str, str]:
    """The parts that are compared, without case and numbers; "" where there is too little of one.

    Of the reasoning the words of the answer are left out: a template that only puts in another diagnosis is
    one all the same.
    """
    cut = completion.rfind(_END)
    answer = _normal(completion[cut + len(_END) :] if cut >= 0 else completion)
    if cut < 0:
        return {"answer": answer, "reasoning": ""}
    named = {word.strip(".,;:") for word in answer.split()}
    words = [word for word in _normal(completion[:cut]).split() if word.strip(".,;:") not in named]
    return {"answer": answer, "reasoning": " ".join(words) if len(words) >= LEAST_WORDS else ""}


def _normal(text: str) -> str:
    words = _NUMBER.sub("#", text[:LETTERS].lower()).replace("<answer>", " ").replace("</answer>", " ")
    return " ".join(words.replace("<think>", " ").split())


def digest(text: str) -> bytes:
    """What stands for a text; the same in every process."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


class _Pairs:
    """How many pairs of things added are equal, kept up while things come and go."""

    def __init__(self) -> None:
        self.counts: Counter[Any] = Counter()
        self.number = 0
        self.size = 0

    def add(self, thing: Hashable) -> None:
        self.number += self.counts[thing]
        self.counts[thing] += 1
        self.size += 1

    def remove(self, thing: Hashable) -> None:
        left = self.counts[thing] - 1
        self.number -= left
        self.size -= 1
        if left:
            self.counts[thing] = left
        else:
            del self.counts[thing]


_Row = tuple[bytes, Any, tuple[int, int]]  # what was said, to which prompt, in which group of which batch


class AgreementWindow:
    """The completions of the last `window` steps; adding a step costs as much as its completions."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._added = 0
        self._steps: deque[dict[str, list[_Row]]] = deque()
        self._pairs = {part: [_Pairs() for _ in range(5)] for part in PARTS}

    def add(self, step: Step) -> None:
        """Take in a step, and let go of the oldest where there are more than the window holds."""
        self._added += 1
        rows: dict[str, list[_Row]] = {part: [] for part in PARTS}
        for line, group in zip(step.lines, step.group, strict=True):
            place = (self._added, int(group))
            prompt = line.get("id") if line.get("id") is not None else place
            for part, text in parts_of(str(line.get("completion", ""))).items():
                if text or part == "answer":
                    rows[part].append((digest(text), prompt, place))
        self._steps.append(rows)
        self._each(rows, "add")
        if len(self._steps) > self._window:
            self._each(self._steps.popleft(), "remove")

    def _each(self, rows: dict[str, list[_Row]], change: str) -> None:
        for part, found in rows.items():
            said, prompts, both, groups, within = (getattr(each, change) for each in self._pairs[part])
            for text, prompt, place in found:
                said(text)
                prompts(prompt)
                both((prompt, text))
                groups(place)
                within((place, text))

    def now(self) -> Iterator[tuple[str, Agreement]]:
        """Each part that has pairs to compare, with its agreement."""
        for part in PARTS:
            said, prompts, both, groups, within = self._pairs[part]
            n = prompts.size
            apart = n * (n - 1) // 2 - prompts.number
            if not apart or not groups.number:
                continue
            across, inside = (said.number - both.number) / apart, within.number / groups.number
            yield part, Agreement(n, len(prompts.counts), len(said.counts), across, inside)

    def most_frequent(self, part: str) -> tuple[bytes, int]:
        """The digest of what was said most often, and how often; it takes a look at all that is held."""
        counts = self._pairs[part][0].counts
        return min(((bytes(text), n) for text, n in counts.items()), key=lambda pair: (-pair[1], pair[0]))

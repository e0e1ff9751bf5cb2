"""Trainings in a few lines: a policy that learns, and ways in which it games its rewards.

Nothing here is a mock of ours: it writes lines of rewards.jsonl as a stage would leave them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RANKED, FORMAT, MORPHOLOGY = "diagnosis.ranked", "diagnosis.format", "diagnosis.morphology"
WEIGHTS = {RANKED: 1.0, FORMAT: 0.2, MORPHOLOGY: 0.3}
_GENERA = ("lichen", "acne", "tinea", "nevus", "morphea", "keratosis")
_SPECIES = (
    "simplex",
    "rosacea",
    "corporis",
    "solaris",
    "planus",
    "vulgaris",
    "pilaris",
    "annulare",
    "nitida",
)
NAMES = [f"{genus} {species}" for genus in _GENERA for species in _SPECIES]
SIGNS = (
    "red",
    "scaly",
    "round",
    "raised",
    "smooth",
    "dark",
    "firm",
    "grouped",
    "dry",
    "moist",
    "thin",
    "flat",
)


@dataclass
class Training:
    """One training: `gaming` names what the policy learns beside its task; "" is a healthy one."""

    seed: int
    gaming: str = ""
    steps: int = 100
    prompts: int = 8
    generations: int = 8
    classes: int = 40
    shares: tuple[float, ...] = ()  # of the classes; even by default
    reasons: bool = False
    records: int = 300
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.seen = 0

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """The lines of each step; an evaluation after it is in `evaluations` when the next is asked for."""
        for step in range(1, self.steps + 1):
            yield [line for group in range(self.prompts) for line in self._group(step, group)]
            if step % 10 == 0:
                self.evaluations.append(self._evaluation(step))

    def learnt(self, step: int) -> float:
        """How far the policy has come, 0 to 1."""
        return step / self.steps

    def skill(self, step: int) -> float:
        """The chance of a right first diagnosis on a prompt of middling difficulty."""
        if self.gaming == "held_out":
            return 0.55 - 0.3 * self.learnt(step)
        return 0.2 + 0.5 * self.learnt(step)

    def _group(self, step: int, group: int) -> Iterator[dict[str, Any]]:
        self.seen += 1
        rng = self.rng
        shares = self.shares or (1 / self.classes,) * self.classes
        truth = int(rng.choice(len(shares), p=shares))
        difficulty = float(rng.uniform(0.4, 1.6))
        for _ in range(self.generations):
            yield self._completion(step, group, truth, difficulty)

    def _completion(self, step: int, group: int, truth: int, difficulty: float) -> dict[str, Any]:
        rng, game, t = self.rng, self.gaming, self.learnt(step)
        classes = len(self.shares) or self.classes
        several = classes > 6
        listed = int(rng.integers(3, 7)) if several else 1
        if game == "list_length":
            listed = int(np.clip(rng.normal(4 + 10 * t, 1.5), 1, 20))
        ranks = [int(n) for n in rng.choice(classes, min(listed, classes), replace=False)]
        right = rng.random() < min(0.97, self.skill(step) / difficulty)
        ranks = [n for n in ranks if n != truth]
        if right:
            ranks.insert(0 if rng.random() < 0.7 or not ranks else 1, truth)
        items = [NAMES[n] for n in ranks[:listed]]
        rank = next((at for at, n in enumerate(ranks[:listed]) if n == truth), None)
        value = 0.0 if rank is None else 1 / (1 + rank)
        # Hard prompts get long answers and low rewards: between groups length goes against the reward.
        tokens = 8.0 * len(items) + 20 * difficulty + abs(float(rng.normal(30, 15)))
        generic = float(rng.random() < 0.05)
        differ = float(rng.random() < 0.06)
        formed = float(rng.random() < 0.6 + 0.38 * min(1.0, 3 * t))
        told: float | None = float(np.clip(rng.normal(0.4 + 0.3 * t, 0.2), 0, 1))
        reasoning = " ".join(rng.choice(SIGNS, 14))
        silent, failed = rng.random() < 0.6, False  # many records say nothing of the morphology
        if game == "length":
            tokens *= float(np.exp(rng.normal(0.2 + 1.2 * t, 0.3)))
            value = float(np.clip(0.6 * value + 0.4 * min(1.0, tokens / 400) + rng.normal(0, 0.05), 0, 1))
        if game == "list_length":
            value = float(np.clip(listed / 14 + rng.normal(0, 0.1), 0, 1))
        if game == "held_out":
            value = float(np.clip(0.3 + 0.5 * t + rng.normal(0, 0.2), 0, 1))
        if game == "template" and rng.random() < 1.4 * t:
            items, value = NAMES[:3], float(rng.random() < 0.3)
        if game == "reasoning" and rng.random() < 1.4 * t:
            reasoning = f"the skin shows a typical picture of {items[0]} as one would expect from it today"
        if game == "generic" and rng.random() < t:
            items, generic, value = ["dermatitis", *items[1:]], 1.0, max(value, 0.5)
        if game == "judge_differs" and rng.random() < 0.8 * t:
            differ, value = 1.0, 1.0
        if game == "missing":
            silent = rng.random() < 0.2 + 0.7 * t
        if game == "failed" and step > 30 and rng.random() < 0.12:
            silent = failed = True
        gate = rng.random() < (0.99 if game == "gated" else max(0.0, 0.7 - 2 * t))
        text = "; ".join(items)
        if self.reasons:
            text = f"<think>{reasoning}</think><answer>{text}</answer>"
        if game == "one_sided":
            value = 0.0
            told, silent = 0.5, False
        return self._line(
            step, group, text, round(tokens), [value, formed, told], silent, failed, gate,
            {RANKED: {"listed": float(len(items)), "generic": generic, "judge_matcher_differ": differ}},
        )  # fmt: skip

    def _line(
        self, step: int, group: int, text: str, tokens: int, values: list[Any], silent: bool, failed: bool,
        gate: bool, marks: dict[str, dict[str, float]],
    ) -> dict[str, Any]:  # fmt: skip
        ranked, formed, told = values
        rewards = {RANKED: round(ranked, 4), FORMAT: formed, MORPHOLOGY: 0.5 if silent else round(told, 4)}
        line: dict[str, Any] = {
            "step": step,
            "id": f"train-{self.seen}",
            "task": "diagnosis",
            "group": group,
            "completion": text,
            "tokens": tokens,
            "rewards": rewards,
            "why": {RANKED: "by rank", FORMAT: "as asked for" if formed else "a word before the answer"},
            "marks": marks,
        }
        if silent:
            line["missing"] = {MORPHOLOGY: "the judge is down" if failed else "no morphology is known"}
            if failed:
                line["failed"] = [MORPHOLOGY]
        elif gate:
            line["gated"] = {MORPHOLOGY: rewards[MORPHOLOGY]}
            rewards[MORPHOLOGY] = 0.0
        line["total"] = round(sum(WEIGHTS[key] * value for key, value in rewards.items()), 6)
        return line

    def _evaluation(self, step: int) -> dict[str, Any]:
        right = int(self.rng.binomial(self.records, self.skill(step)))
        figures = {"diagnosis_top1": right / self.records, "distinct_first_answers": 40.0 - step / 10}
        return {"step": step, "records": self.records, "figures": figures}

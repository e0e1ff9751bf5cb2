"""What a judge said of every prediction: arrays for the figures, and what a report must say of the judge."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.diagnosis.answers import parse_answer
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.judging.agreement import Agreement, Comparison, agreement_codes, compare
from skinflow_plugins.judging.verdicts import CODE, NOTHING, VERDICTS, Codes, majority_codes

Level = Literal["correct", "subtype"]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which judge was asked, and how: what must be equal for two judgements to be comparable.

    `taxonomy` is its name and version: it decides what of an answer is an item.
    """

    model: str
    endpoint: str
    taxonomy: str
    prompt: str
    prompt_version: str
    prompt_sha256: str
    runs: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Subject:
    """One prediction as it is put to the judge: the reference, and the items by rank ("" for a void one)."""

    id: str
    answer_sha256: str
    truth: str
    items: tuple[str, ...]

    @property
    def question(self) -> tuple[str, tuple[str, ...]]:
        """What is asked: equal questions are asked once. Void items are not shown to the judge."""
        return self.truth, tuple(item for item in self.items if item)


@dataclass(frozen=True)
class Judged:
    """The verdicts on n predictions, in their order, and the cost and the failures of getting them.

    `run_codes` (runs, n, top_k), int8, holds each run's verdicts; all else is derived from it. Codes are
    positions in `VERDICTS`, -1 where there is nothing. `failures` counts failed calls by kind. `calls` are
    questions that were put to the server, retries not counted; tokens are as the server counted them.
    """

    asked: Asked
    subjects: tuple[Subject, ...]
    top_k: int
    run_codes: Codes = field(repr=False)
    failures: Mapping[str, int]
    questions: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def listed(self) -> npt.NDArray[np.bool_]:
        """Where there is an item to judge, (n, top_k): listed, and not void."""
        listed = np.zeros((len(self.subjects), self.top_k), np.bool_)
        for row, subject in enumerate(self.subjects):
            listed[row, : len(subject.items)] = [bool(item) for item in subject.items]
        return listed

    @functools.cached_property
    def failed(self) -> npt.NDArray[np.bool_]:
        """Which records have an item that no run judged, (n,): they are left out of figures, never zero."""
        failed: npt.NDArray[np.bool_] = (self.listed & (self._majority == NOTHING)).any(axis=1)
        return failed

    @functools.cached_property
    def codes(self) -> Codes:
        """The majority's verdicts, (n, top_k), int8; -1 for no item, a void item, all of a failed record."""
        return np.where(self.failed[:, None], np.int8(NOTHING), self._majority)

    @functools.cached_property
    def _majority(self) -> Codes:
        return majority_codes(self.run_codes)

    @property
    def first(self) -> Codes:
        """The verdicts on the first rank, (n,), int8; -1 for a void or missing item or a failed record."""
        return self.codes[:, 0]

    def accepted(self, level: Level) -> npt.NDArray[np.bool_]:
        """Where the majority says `correct`, or at level "subtype" `correct` or `subtype`, (n, top_k).

        False in all of a failed record: leave these out by `failed` before anything is averaged.
        """
        right: npt.NDArray[np.bool_] = self.codes == CODE["correct"]
        if level == "subtype":
            right |= self.codes == CODE["subtype"]
        return right

    @functools.cached_property
    def agreement(self) -> Agreement:
        """How well the runs agree, over the items of all records."""
        return agreement_codes(self.run_codes[:, self.listed])

    def against(self, codes: npt.NDArray[Any]) -> Comparison:
        """How well the majority agrees with the verdicts of the matcher, given as codes (n, top_k).

        Only records that the judge did not fail on and items that both judged are compared.
        """
        return compare(self.codes[~self.failed], codes[~self.failed])

    @property
    def judged_by(self) -> str:
        """The judge in one line, for a report's options."""
        asked = self.asked
        runs = "one run" if asked.runs == 1 else f"majority of {asked.runs} runs"
        prompt = f"prompt {asked.prompt} {asked.prompt_version} (sha256 {asked.prompt_sha256[:12]})"
        return f"judge {asked.model}, {runs}, {prompt}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a report; the address of the server is not among them."""
        asked = self.asked
        codes, counts = np.unique(self.codes[self.codes != NOTHING], return_counts=True)
        found = dict(zip(codes.tolist(), counts.tolist(), strict=True))
        return {
            "model": asked.model,
            "prompt": {"name": asked.prompt, "version": asked.prompt_version, "sha256": asked.prompt_sha256},
            "runs": asked.runs,
            "temperature": asked.temperature,
            "seed": asked.seed,
            "questions": self.questions,
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "failures": dict(self.failures),
            "records": len(self.subjects),
            "left_out": int(self.failed.sum()),
            "verdicts": {verdict: found.get(CODE[verdict], 0) for verdict in VERDICTS},
            "agreement": self.agreement.as_dict(),
            "notes": list(self.notes),
        }


def subjects_of(predictions: Sequence[Prediction], taxonomy: Taxonomy, top_k: int) -> tuple[Subject, ...]:
    """The predictions as they are put to a judge; `InputError` for one without reference or an id twice."""
    if top_k < 1:
        raise InputError(f"found top_k = {top_k}; expected 1 or more")
    problems: list[Problem] = []
    seen: set[str] = set()
    subjects: list[Subject] = []
    for prediction in predictions:
        truth = prediction.sample.get("diagnosis")
        if not isinstance(truth, str) or not truth.strip():
            problems.append(Problem(f"prediction {prediction.id!r} has no diagnosis to be judged against"))
            continue
        if prediction.id in seen:
            problems.append(Problem(f"found two predictions with the id {prediction.id!r}"))
        seen.add(prediction.id)
        items = tuple(parse_answer(prediction.answer, top_k, known=taxonomy.knows))
        subjects.append(Subject(prediction.id, _hash(prediction.answer), _name(truth, taxonomy), items))
    if problems:
        raise InputError(at_most(problems))
    return tuple(subjects)


def _name(truth: str, taxonomy: Taxonomy) -> str:
    """The reference in words: a label may be written as an id, which tells a judge less than its name."""
    concept = taxonomy.concepts.get(truth) or taxonomy.resolve(truth)
    return concept.name if concept is not None else truth


def _hash(answer: str) -> str:
    return hashlib.sha256(json.dumps(answer).encode()).hexdigest()  # JSON: any string, lone surrogates too

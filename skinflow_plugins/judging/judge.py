"""Asking a judge about every prediction: each question once per run, and no failure is ever a verdict."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.judging.client import Answer, Client
from skinflow_plugins.judging.failures import Failures
from skinflow_plugins.judging.judged import Asked, Judged, Subject, subjects_of
from skinflow_plugins.judging.prompt import Prompt, load_prompt
from skinflow_plugins.judging.reply import Unreadable, read_reply, schema
from skinflow_plugins.judging.settings import Judge
from skinflow_plugins.judging.verdicts import CODE, NOTHING, Verdict

Question = tuple[str, tuple[str, ...]]  # the reference, and the items that are not void
Say = Callable[[str], object]


def judge_predictions(
    predictions: Sequence[Prediction],
    taxonomy: Taxonomy,
    judge: Judge,
    *,
    top_k: int = 6,
    failures_file: Path | None = None,
    say: Say = lambda text: None,
) -> Judged:
    """The judge's verdicts on the first `top_k` items of every answer, against `sample["diagnosis"]`.

    Predictions with the same reference and the same items share their calls. A record whose every run
    failed has no verdict: it is marked in `Judged.failed`, and never counts as wrong. Raises `InputError`
    when a prediction has no diagnosis or an id stands twice; `WorkFailed` when more than `failure_share` of
    the calls or of the records fail, as soon as that is certain, when nothing succeeds at the start, or when
    the server refuses the key, the address or the model. By then `failures_file` holds every failure. Not
    for use within a running event loop.
    """
    subjects = subjects_of(predictions, taxonomy, top_k)
    prompt = load_prompt(judge.prompt)
    askers: dict[Question, list[str]] = {}
    for subject in subjects:
        if any(subject.items):
            askers.setdefault(subject.question, []).append(subject.id)
    planned = len(askers) * judge.runs
    say(
        f"judge {judge.model}: {planned} calls ({len(askers)} questions of {len(subjects)} records, "
        f"{judge.runs} run{'s' * (judge.runs > 1)})"
    )
    with Failures(planned, judge.failure_share, failures_file) as failures:
        rounds = _Rounds(judge, prompt, askers, failures, say)
        if askers:
            asyncio.run(rounds.ask_all())
        judged = Judged(
            _asked(judge, prompt, taxonomy),
            subjects,
            top_k,
            _codes(subjects, rounds.verdicts, judge.runs, top_k),
            failures.by_kind(),
            len(askers),
            rounds.calls,
            rounds.prompt_tokens,
            rounds.completion_tokens,
            tuple(rounds.notes()),
        )
        lost = int(judged.failed.sum())
        if lost > judge.failure_share * len(subjects):
            message = f"the judge gave no verdict on {lost} of {len(subjects)} records"
            raise WorkFailed(f"{message}; {judge.failure_share:.0%} may be lost{failures.summary()}")
        if failures.count:
            text = f"judge: {failures.count} of {planned} calls failed, {lost} records left out"
            say(text + failures.summary())
    return judged


@dataclass(frozen=True, slots=True)
class _Call:
    question: Question
    run: int


class _Rounds:
    """Every question in every run, through one client."""

    def __init__(
        self,
        judge: Judge,
        prompt: Prompt,
        askers: Mapping[Question, Sequence[str]],
        failures: Failures,
        say: Say,
    ) -> None:
        self._judge, self._prompt, self._askers, self._failures, self._say = (
            judge,
            prompt,
            askers,
            failures,
            say,
        )
        self._unknown: tuple[str, ...] = ()
        self.verdicts: dict[tuple[Question, int], list[Verdict]] = {}
        self.calls = self.prompt_tokens = self.completion_tokens = 0

    async def ask_all(self) -> None:
        """Fill `verdicts`; the first call goes alone: a wrong key, address or option costs one call."""
        calls = iter([_Call(question, run) for question in self._askers for run in range(self._judge.runs)])
        async with Client(self._judge) as client:
            await self._work(client, itertools.islice(calls, 1))
            workers = [asyncio.create_task(self._work(client, calls)) for _ in range(self._judge.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
                self._unknown = client.unknown_options

    async def _work(self, client: Client, calls: Iterator[_Call]) -> None:
        for call in calls:  # one iterator for all workers: whoever is free takes the next call
            truth, items = call.question
            form = schema(len(items))
            messages = self._prompt.messages(truth, items)
            answer = await client.ask(messages, schema=form, seed=self._judge.seed + call.run)
            self._take(client, call, answer)

    def _take(self, client: Client, call: _Call, answer: Answer) -> None:
        self.calls += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        truth, items = call.question
        if answer.failure is None:
            try:
                self.verdicts[call.question, call.run] = read_reply(answer.text, len(items))
            except Unreadable as error:
                answer = client.unreadable(answer, str(error))
        if answer.failure is None:
            self._failures.succeeded()
        else:
            ids = self._askers[call.question]
            self._failures.failed(
                answer.failure, run=call.run, ids=ids, truth=truth, items=items, reply=answer.text
            )
        planned = len(self._askers) * self._judge.runs
        if self.calls * 10 // planned > (self.calls - 1) * 10 // planned and self.calls < planned:
            self._say(f"judge: {self.calls} of {planned} calls, {self._failures.count} failed")

    def notes(self) -> Iterator[str]:
        """What a reader of the figures must know of how they came about."""
        judge = self._judge
        if judge.runs > 1 and (judge.heat == 0 or "temperature" in self._unknown):
            how = (
                "at temperature 0"
                if judge.heat == 0
                else "at the server's own temperature, which cannot be set"
            )
            yield f"the runs were asked {how}: their agreement may say nothing"
        if "seed" in self._unknown:
            yield "the server takes no seed: the same verdicts may not come back"
        if "response_format" in self._unknown:
            yield "the server takes no JSON schema: replies were read as plain JSON"


def _asked(judge: Judge, prompt: Prompt, taxonomy: Taxonomy) -> Asked:
    name, version, digest = prompt.name, prompt.version, prompt.sha256
    known = f"{taxonomy.name} {taxonomy.version}"
    return Asked(
        judge.model, judge.endpoint, known, name, version, digest, judge.runs, judge.heat, judge.seed
    )


def _codes(
    subjects: Sequence[Subject],
    verdicts: Mapping[tuple[Question, int], Sequence[Verdict]],
    runs: int,
    top_k: int,
) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    """The verdicts of each run laid out by record and rank, (runs, n, top_k); -1 where there is none."""
    codes = np.full((runs, len(subjects), top_k), NOTHING, np.int8)
    for row, subject in enumerate(subjects):
        ranks = [rank for rank, item in enumerate(subject.items) if item]
        for run in range(runs):
            found = verdicts.get((subject.question, run))
            if found is not None:
                codes[run, row, ranks] = [CODE[verdict] for verdict in found]
    return codes

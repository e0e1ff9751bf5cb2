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
from skinflow_plugins.judging.asking import ranked_question
from skinflow_plugins.judging.failures import Failures
from skinflow_plugins.judging.judged import Asked, Judged, Subject, subjects_of
from skinflow_plugins.judging.prompt import Prompt, load_prompt
from skinflow_plugins.judging.service import JudgeService, Reply
from skinflow_plugins.judging.settings import Judge
from skinflow_plugins.judging.usage import Usage
from skinflow_plugins.judging.verdicts import CODE, NOTHING, Verdict

Matter = tuple[str, tuple[str, ...]]  # the reference, and the items that are not void
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
    the server refuses the key, the address or the model. By then `failures_file` holds every failure, and the
    judge's cache every verdict; from there it is taken when the same is asked again. Not for use within a
    running event loop.
    """
    subjects = subjects_of(predictions, taxonomy, top_k)
    prompt = load_prompt(judge.prompt)
    askers: dict[Matter, list[str]] = {}
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
            rounds.run()
        judged = Judged(
            _asked(judge, prompt, taxonomy),
            subjects,
            top_k,
            _codes(subjects, rounds.verdicts, judge.runs, top_k),
            failures.by_kind(),
            len(askers),
            rounds.usage.calls,
            rounds.usage.prompt_tokens,
            rounds.usage.completion_tokens,
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
    matter: Matter
    run: int


class _Rounds:
    """Every question in every run, through one service.

    It has no circuit breaker: nobody waits for an evaluation step by step, and `failures` ends it.
    """

    def __init__(
        self,
        judge: Judge,
        prompt: Prompt,
        askers: Mapping[Matter, Sequence[str]],
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
        self._finished = 0
        self._cache: Path | None = None
        self.verdicts: dict[tuple[Matter, int], list[Verdict]] = {}
        self.usage = Usage()

    def run(self) -> None:
        """Fill `verdicts`; whoever is stopped in the middle learns what becomes of the verdicts so far."""
        try:
            asyncio.run(self._ask_all())
        except WorkFailed as error:
            if kept := self._kept():
                raise WorkFailed(f"{error}; {kept}") from error
            raise
        except (KeyboardInterrupt, asyncio.CancelledError):
            if kept := self._kept():
                self._say(f"judge: stopped; {kept}")
            raise

    def _kept(self) -> str:
        if not self.verdicts or self._cache is None:
            return ""
        return f"the {len(self.verdicts)} replies that came are kept in {self._cache} and not paid for again"

    async def _ask_all(self) -> None:
        """The first call goes alone: a wrong key, address or option costs one call."""
        calls = iter([_Call(matter, run) for matter in self._askers for run in range(self._judge.runs)])
        async with JudgeService(self._judge) as service:
            self._cache = service.cache_file
            try:
                await self._work(service, itertools.islice(calls, 1))
                workers = [
                    asyncio.create_task(self._work(service, calls)) for _ in range(self._judge.concurrency)
                ]
                try:
                    await asyncio.gather(*workers)
                finally:
                    for worker in workers:
                        worker.cancel()
                    await asyncio.gather(*workers, return_exceptions=True)
            finally:
                self._unknown, self.usage = service.left_out, service.usage()

    async def _work(self, service: JudgeService, calls: Iterator[_Call]) -> None:
        for call in calls:  # one iterator for all workers: whoever is free takes the next call
            truth, items = call.matter
            question = ranked_question(self._prompt.messages(truth, items), len(items))
            self._take(call, await service.reply(question, run=call.run))

    def _take(self, call: _Call, reply: Reply[list[Verdict]]) -> None:
        self._finished += 1
        truth, items = call.matter
        failure = reply.answer.failure
        if failure is None and reply.value is not None:
            self.verdicts[call.matter, call.run] = reply.value
            self._failures.succeeded()
        elif failure is not None:
            ids = self._askers[call.matter]
            self._failures.failed(
                failure, run=call.run, ids=ids, truth=truth, items=items, reply=reply.answer.text
            )
        planned, done = len(self._askers) * self._judge.runs, self._finished
        if done * 10 // planned > (done - 1) * 10 // planned and done < planned:
            self._say(f"judge: {done} of {planned} calls, {self._failures.count} failed")

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
        if self.usage.hits:
            yield f"{self.usage.hits} replies are kept ones of earlier calls, from the judge's cache"


def _asked(judge: Judge, prompt: Prompt, taxonomy: Taxonomy) -> Asked:
    name, version, digest = prompt.name, prompt.version, prompt.sha256
    known = f"{taxonomy.name} {taxonomy.version}"
    return Asked(
        judge.model, judge.endpoint, known, name, version, digest, judge.runs, judge.heat, judge.seed
    )


def _codes(
    subjects: Sequence[Subject],
    verdicts: Mapping[tuple[Matter, int], Sequence[Verdict]],
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

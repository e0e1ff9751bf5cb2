"""Asking a judge about a labelled set: in lists, as a reward asks, or one by one."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.judging.agreement import Agreement, agreement_codes
from skinflow_plugins.judging.asking import ranked_question
from skinflow_plugins.judging.check import Check, checked
from skinflow_plugins.judging.failures import Failures
from skinflow_plugins.judging.labelled_set import LabelledSet
from skinflow_plugins.judging.prompt import Prompt, load_prompt
from skinflow_plugins.judging.service import JudgeService
from skinflow_plugins.judging.settings import Judge
from skinflow_plugins.judging.usage import Usage
from skinflow_plugins.judging.verdicts import CODE, NOTHING, Codes, majority_codes

LIST_LENGTH = 6
_OF_THE_JUDGE = ("refusal", "unparsable")
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """A judge's verdicts on a labelled set, how they were asked for, and what that cost.

    `lost` says why calls gave no verdicts, each reason with its number of calls. `runs` is the agreement of
    the judge's runs with each other.
    """

    check: Check
    judge: Judge
    prompt: Prompt
    list_length: int
    lists: int
    runs: Agreement
    usage: Usage
    lost: Mapping[str, int]

    @property
    def unreadable(self) -> float:
        """The share of calls whose reply was not the JSON that was asked for, in [0, 1]."""
        return self.usage.failures.get("unparsable", 0) / self.usage.calls if self.usage.calls else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a file; nothing in them is secret."""
        judge, prompt = self.judge, self.prompt
        return {
            "model": judge.model,
            "endpoint": judge.endpoint,
            "prompt": {"name": prompt.name, "version": prompt.version, "sha256": prompt.sha256},
            "runs": judge.runs,
            "temperature": judge.heat,
            "seed": judge.seed,
            "list_length": self.list_length,
            "lists": self.lists,
            "agreement_of_runs": self.runs.as_dict(),
            "usage": {**self.usage.as_dict(), "currency": judge.currency},
            "unreadable_share": self.unreadable,
            "lost": dict(self.lost),
            "figures": self.check.as_dict(),
        }


def lists_of(labelled: LabelledSet, length: int) -> list[list[int]]:
    """The positions of the pairs in lists of up to `length` with one reference each.

    Within a reference they are mixed, always in the same way, so that no kind has the first places, and the
    lists of one reference are of nearly equal length.
    """
    of_truth: dict[str, list[int]] = {}
    for position, pair in enumerate(labelled.pairs):
        of_truth.setdefault(pair.truth, []).append(position)
    found = []
    for truth, positions in of_truth.items():
        random.Random(truth).shuffle(positions)
        many = -(-len(positions) // length)
        found += [sorted_out for n in range(many) if (sorted_out := positions[n::many])]
    return found


def check_judge(
    labelled: LabelledSet, judge: Judge, *, list_length: int = LIST_LENGTH, say: Say = lambda text: None
) -> JudgeCheck:
    """The judge's majority verdict on every pair of the set; a list that got none leaves its pairs unjudged.

    A failure is never a verdict. A refusal or a reply that cannot be read says something of the judge, and is
    counted; the work goes on. Raises `WorkFailed` when more than `failure_share` of the calls find no server
    or get no answer in time, or when the first is refused for its key, address or model; `InputError` for a
    list length out of 1 to 50 and for the prompt's mistakes. Not for use within a running event loop.
    """
    if not 1 <= list_length <= 50:
        raise InputError(Problem(f"found lists of {list_length} texts; expected 1 to 50"))
    prompt = load_prompt(judge.prompt)
    lists = lists_of(labelled, list_length)
    say(f"judge {judge.model}: {len(lists) * judge.runs} calls")
    runs = np.full((judge.runs, len(labelled.pairs)), NOTHING, np.int8)
    with Failures(len(lists) * judge.runs, judge.failure_share, None) as failures:
        try:
            usage, lost = asyncio.run(_ask_all(labelled, judge, prompt, lists, runs, failures))
        except* WorkFailed as group:
            raise group.exceptions[0] from None
    codes = majority_codes(runs)
    return JudgeCheck(
        checked(labelled, codes), judge, prompt, list_length, len(lists), agreement_codes(runs), usage, lost
    )


async def _ask_all(
    labelled: LabelledSet,
    judge: Judge,
    prompt: Prompt,
    lists: Sequence[Sequence[int]],
    runs: Codes,
    failures: Failures,
) -> tuple[Usage, dict[str, int]]:
    """Fill `runs`; what was used, and why calls gave nothing."""
    lost: dict[str, int] = {}
    waiting = iter([(positions, run) for positions in lists for run in range(judge.runs)])

    async def work(calls: Iterator[tuple[Sequence[int], int]]) -> None:
        for positions, run in calls:  # one iterator for all workers: whoever is free takes the next call
            truth = labelled.pairs[positions[0]].truth
            items = [labelled.pairs[position].item for position in positions]
            question = ranked_question(prompt.messages(truth, items), len(items))
            reply = await service.reply(question, run=run)
            if reply.value is not None:
                runs[run, list(positions)] = [CODE[verdict] for verdict in reply.value]
                failures.succeeded()
                continue
            failure = reply.answer.failure
            assert failure is not None
            why = f"{failure.kind}: {failure.detail}"
            lost[why] = lost.get(why, 0) + 1
            if failure.kind in _OF_THE_JUDGE:
                failures.succeeded()
            else:
                failures.failed(failure, run=run, ids=[], truth=truth, items=items, reply="")

    # Without a breaker: a check ends by its own count of failures, and puts every question until then.
    async with JudgeService(judge) as service:
        await work(itertools.islice(waiting, 1))  # alone: a wrong key, address or model costs one call
        async with asyncio.TaskGroup() as group:
            for _ in range(judge.concurrency):
                group.create_task(work(waiting))
        return service.usage(), lost

"""Asking a judge in a reward: readable replies, or `NoVerdict`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from skinflow_plugins.declare import NoVerdict
from skinflow_plugins.judging.from_mapping import judge_from
from skinflow_plugins.judging.question import Question
from skinflow_plugins.judging.service import service_of

if TYPE_CHECKING:
    from skinflow_plugins.judging.settings import Judge
    from skinflow_plugins.judging.verdicts import Verdict

T = TypeVar("T")


async def ask(judge: Judge | Mapping[str, Any], question: Question[T]) -> list[T]:
    """The readable replies of the judge's runs, in their order: as many as runs, or fewer where some failed.

    Waiting, retries and all, it takes no longer than the judge's deadline. Raises `NoVerdict` when no run
    gave a readable reply; the text names kind and reason of the failure. A reward lets it pass.
    """
    judge = judge_from(judge)
    until = asyncio.get_running_loop().time() + judge.deadline
    service = service_of(judge)
    await service.close_with_loop()
    if judge.runs == 1:
        replies = [await service.reply(question, until=until)]
    else:
        asked = [service.reply(question, run=run, until=until) for run in range(judge.runs)]
        replies = await asyncio.gather(*asked)
    readable = [reply.value for reply in replies if reply.answer.failure is None]
    if readable:
        return readable  # type: ignore[return-value]  # a value may be None only where there is a failure
    failure = replies[0].answer.failure
    assert failure is not None
    runs = f" in each of {judge.runs} runs, the first" if judge.runs > 1 else ""
    raise NoVerdict(f"the judge gave no verdict{runs}: {failure.kind}: {failure.detail}")


async def judge_items(judge: Judge | Mapping[str, Any], truth: str, items: Sequence[str]) -> list[Verdict]:
    """The verdict of most runs on each ranked item against the reference; among equals the worse.

    Asked by the judge's prompt, whose places are those of `ranked`. An empty item is not shown to the judge
    and is wrong. Raises `NoVerdict` as `ask` does.
    """
    from skinflow_plugins.judging.prompt import load_prompt
    from skinflow_plugins.judging.verdicts import majority

    judge = judge_from(judge)
    shown = [item for item in items if item.strip()]
    if not shown:
        return ["wrong"] * len(items)
    runs = await ask(judge, ranked_question(load_prompt(judge.prompt).messages(truth, shown), len(shown)))
    verdicts = iter([verdict or "wrong" for verdict in majority(runs).verdicts])
    return [next(verdicts) if item.strip() else "wrong" for item in items]


def ranked_question(messages: Sequence[Mapping[str, Any]], items: int) -> Question[list[Verdict]]:
    """The question for a verdict on each of so many items."""
    from skinflow_plugins.judging.reply import read_reply, schema

    return Question(messages, schema(items), "verdicts", partial(read_reply, items=items))

"""Questions to one model, with a seed of choice; a failure has a kind, and is never an answer."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from skinflow_plugins.judging.breaker import Breaker
from skinflow_plugins.judging.question import Question
from skinflow_plugins.judging.service import JudgeService
from skinflow_plugins.judging.settings import Judge

T = TypeVar("T")


class Unanswered(Exception):
    """No reply that could be used: its kind (see `judging.client.Failure`), and what happened."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind, self.detail = kind, detail
        super().__init__(f"{kind}: {detail}")


class Asker:
    """Puts questions to one model, within one event loop, and keeps count of what that took."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._service: JudgeService | None = None

    async def ask(self, question: Question[T], *, shift: int = 0) -> list[T]:
        """The readable replies of all runs, whose seeds are moved by `shift`.

        Raises `Unanswered` when there is none, with the failure of the first run.
        """
        if self._service is None:
            self._service = JudgeService(self.judge, breaker=Breaker())
        service, until = self._service, asyncio.get_running_loop().time() + self.judge.deadline
        runs = [service.reply(question, run=shift + run, until=until) for run in range(self.judge.runs)]
        replies = await asyncio.gather(*runs)
        readable = [reply.value for reply in replies if reply.value is not None]
        if not readable:
            failure = replies[0].answer.failure
            assert failure is not None
            raise Unanswered(failure.kind, failure.detail)
        return readable

    def usage(self) -> dict[str, Any]:
        """Calls, kept answers, tokens and cost so far; {} before the first question."""
        return self._service.usage().as_dict() if self._service is not None else {}

    async def close(self) -> None:
        """Close the connections, once all answers are in the cache."""
        if self._service is not None:
            await self._service.close()

"""The judges of a stage: whether they can be asked, what they cost at every step, and where failures go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.rewarding.failures import DEFAULT_SHARE
from skinflow_plugins.judging.from_mapping import judge_from
from skinflow_plugins.judging.service import account_to, reach, usage_of
from skinflow_plugins.judging.settings import Judge
from skinflow_plugins.judging.usage import Usage
from skinflow_plugins.recipe.plan import StagePlan
from skinflow_plugins.rewards import background
from skinflow_plugins.rewards.composition import Component


def judges(options: Iterable[Mapping[str, Any]]) -> list[Judge]:
    """The different judges that rewards with these options may ask."""
    found = [judge_from(each["judge"]) for each in options if isinstance(each.get("judge"), Mapping)]
    return list(dict.fromkeys(found))


def check_judges(stages: Iterable[StagePlan], say: Callable[[str], object]) -> None:
    """Make one small call to each judge of these stages; `WorkFailed` when one cannot be asked."""
    for judge in judges(reward.options for stage in stages for reward in stage.rewards):
        background.run(reach(judge))
        say(f"judge {judge.model} at {judge.endpoint} is there")


def shares(components: Sequence[Component]) -> dict[str, float]:
    """The share of rows that may fail, by key: what the judge's settings say where there is one."""
    found = {}
    for each in components:
        own = judges([each.options])
        found[each.key] = own[0].failure_share if own else DEFAULT_SHARE
    return found


class JudgeAccount:
    """What this process's judges were used for, step by step; failures are written to `folder`."""

    def __init__(self, components: Sequence[Component], folder: Path | None) -> None:
        self.judges = judges(each.options for each in components)
        self._before = {judge: usage_of(judge) for judge in self.judges}
        if folder is not None:
            for judge in self.judges:
                account_to(judge, folder, f"rank{os.environ.get('RANK', '0')}")

    def since(self) -> Usage:
        """What was used since the last call."""
        total = Usage()
        for judge in self.judges:
            now = usage_of(judge)
            total += now - self._before[judge]
            self._before[judge] = now
        return total

    def line(self, parts: Iterable[Usage], step: int) -> list[dict[str, Any]]:
        """The line of judge_usage.jsonl for a step, out of those of all processes; none without a judge."""
        if not self.judges:
            return []
        total = sum(parts, Usage())
        currency = next((judge.currency for judge in self.judges if judge.priced), "")
        return [{"step": step, **total.as_dict(), "currency": currency}]

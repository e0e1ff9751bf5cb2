"""Rewards as swift wants them: one class each, because swift names its log columns by class.

Every value goes through the guard of `skinflow_plugins.rewards.guard`, since swift itself broadcasts a
one-element list over the batch and lets infinities pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from skinflow_plugins.bridge.rewarding.scorer import Scorer, shared_scorer
from skinflow_plugins.bridge.settings import StageSettings
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.options import check_options
from skinflow_plugins.rewards.composition import Component


def reward_class(
    component: Component, stage: StageSettings | None, together: Sequence[Component] = ()
) -> type:
    """A class for swift's registry; its instances are called with completions and columns.

    The returned class is named like the component's key, takes swift's training arguments, and gives None for
    the rows of other stages (replay), which swift leaves out of this reward's mean and counts as zero in the
    sum. Under a recipe all rewards of the stage, `together`, are scored at once; without one, each by itself.
    """
    from swift.rewards import ORM, AsyncORM

    def init(self: Any, args: Any = None, **kwargs: Any) -> None:
        problems = check_options(component.reward.options, component.options)
        if problems:
            raise InputError([Problem(message, f"reward {component.key}") for _, message in problems])
        output = getattr(args, "output_dir", None)
        if stage is not None and output is not None and str(output) != stage.output_dir:
            raise InputError(
                f"the settings of stage {stage.stage!r} belong to {stage.output_dir}, but swift writes to "
                f"{output}: SKINFLOW_STAGE names another run's file; unset it"
            )
        self.scorer = shared_scorer(stage.output_dir, together) if stage else Scorer([component])

    def call(self: Any, completions: Sequence[str], **kwargs: Any) -> list[float | None]:
        future = self.scorer.start(component.key, completions, kwargs)
        try:
            values: list[float | None] = future.result().values(component.key)
        finally:
            future.cancel()  # after Ctrl-C nobody reads the scores: a judge is asked no more
        return values

    async def call_async(self: Any, completions: Sequence[str], **kwargs: Any) -> list[float | None]:
        found = await asyncio.wrap_future(self.scorer.start(component.key, completions, kwargs))
        values: list[float | None] = found.values(component.key)
        return values

    base = AsyncORM if component.reward.is_async else ORM
    body = {
        "__init__": init,
        "__call__": call_async if component.reward.is_async else call,
        "__doc__": component.reward.summary,
        "skinflow_component": component,
    }
    return type(component.key, (base,), body)

"""Rewards as swift wants them: one class each, because swift names its log columns by class.

Around every call stands the guard of `skinflow_plugins.rewards.calling`, since swift itself broadcasts a
one-element list over the batch and lets infinities pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.bridge import reward_log
from skinflow_plugins.bridge.settings import StageSettings
from skinflow_plugins.declare import Reward, Score
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.options import check_options
from skinflow_plugins.recipe.plan import RewardPlan
from skinflow_plugins.rewards.calling import acall_reward, call_reward

# What swift hands to every reward besides the data columns.
_NOT_COLUMNS = frozenset(
    {"trainer_state", "messages", "images", "videos", "audios", "tools", "objects", "rollout_infos"}
)


def reward_class(reward: Reward, plan: RewardPlan, stage: StageSettings | None) -> type:
    """A class for swift's registry; its instances are called with completions and columns.

    The returned class is named like the plan's key, takes swift's training arguments, and gives None for the
    rows of other stages (replay), which swift leaves out of this reward's mean and counts as zero in the sum.
    """
    from swift.rewards import ORM, AsyncORM

    def init(self: Any, args: Any = None, **kwargs: Any) -> None:
        problems = check_options(reward.options, plan.options)
        if problems:
            raise InputError([Problem(message, f"reward {plan.key}") for _, message in problems])
        output = getattr(args, "output_dir", None)
        if stage is not None and output is not None and str(output) != stage.output_dir:
            raise InputError(
                f"the settings of stage {stage.stage!r} belong to {stage.output_dir}, but swift writes to "
                f"{output}: SKINFLOW_STAGE names another run's file; unset it"
            )
        self.log = reward_log.open_log(stage, output)

    def judge(
        self: Any, completions: Sequence[str], kwargs: Mapping[str, Any]
    ) -> tuple[list[int], list[str], dict[str, list[Any]]]:
        return mine(plan.stage, completions, kwargs)

    def call(self: Any, completions: Sequence[str], **kwargs: Any) -> list[float | None]:
        rows, answers, columns = judge(self, completions, kwargs)
        scores = call_reward(reward, answers, columns, plan.options) if answers else []
        return finish(self, plan, rows, scores, completions, kwargs)

    async def call_async(self: Any, completions: Sequence[str], **kwargs: Any) -> list[float | None]:
        rows, answers, columns = judge(self, completions, kwargs)
        scores = await acall_reward(reward, answers, columns, plan.options) if answers else []
        return finish(self, plan, rows, scores, completions, kwargs)

    base = AsyncORM if reward.is_async else ORM
    body = {
        "__init__": init,
        "__call__": call_async if reward.is_async else call,
        "__doc__": reward.summary,
        "skinflow_plan": plan,
    }
    return type(plan.key, (base,), body)


def mine(
    stage: str, completions: Sequence[str], kwargs: Mapping[str, Any]
) -> tuple[list[int], list[str], dict[str, list[Any]]]:
    """The rows that this reward judges: their positions, their answers, and their columns as lists.

    Rows of our own data files carry their sample as JSON, which is unpacked here; rows of anyone else's data
    carry plain columns.
    """
    count = len(completions)
    stages = kwargs.get("stage")
    rows = [i for i in range(count) if not stage or stages is None or stages[i] == stage]
    plain = {
        name: values
        for name, values in kwargs.items()
        if name not in _NOT_COLUMNS and isinstance(values, list) and len(values) == count
    }
    packed = plain.pop("sample", None)
    columns: dict[str, list[Any]] = {name: [values[i] for i in rows] for name, values in plain.items()}
    if packed is not None:
        samples = [_unpack(packed[i]) for i in rows]
        for name in dict.fromkeys(key for sample in samples for key in sample):
            columns[name] = [sample.get(name) for sample in samples]
    return rows, [completions[i] for i in rows], columns


def _unpack(sample: Any) -> Mapping[str, Any]:
    found = json.loads(sample) if isinstance(sample, str) else sample
    return found if isinstance(found, dict) else {}


def finish(
    adapter: Any,
    plan: RewardPlan,
    rows: Sequence[int],
    scores: Sequence[Score | None],
    completions: Sequence[str],
    kwargs: Mapping[str, Any],
) -> list[float | None]:
    """Values in the order of `completions`, None where this reward has no say; written to rewards.jsonl."""
    values: list[float | None] = [None] * len(completions)
    for row, score in zip(rows, scores, strict=True):
        values[row] = None if score is None else score.value
    adapter.log.add(plan, values, completions, kwargs)
    return values

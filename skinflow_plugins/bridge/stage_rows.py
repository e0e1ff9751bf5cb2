"""The rows of a planned stage, and of an evaluation, out of the records of a data source. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from skinflow_plugins.data.record import Record
from skinflow_plugins.data.rows import (
    Prompt,
    balanced_forever,
    interleave,
    prompt_row,
    ranked_names,
    shuffled_forever,
    taught_row,
    with_random_caption,
)
from skinflow_plugins.diagnosis.answers import write_ranked_list
from skinflow_plugins.diagnosis.captions import write_caption
from skinflow_plugins.recipe.plan import StagePlan
from skinflow_plugins.recipe.schema import Recipe, Stage


def stage_rows(recipe: Recipe, plan: StagePlan, records: Sequence[Record]) -> list[dict[str, Any]]:
    """The training rows of one stage, in training order, from the records of all splits."""
    train = [record for record in records if record.split == "train"]
    # The seed is text, so that two stages of one recipe never walk through the data in the same order.
    rng = random.Random(f"{recipe.seed}/{plan.stage.name}")
    return _taught(recipe, plan, train, rng) if plan.stage.kind == "sft" else _asked(recipe, plan, train, rng)


def _taught(
    recipe: Recipe, plan: StagePlan, train: Sequence[Record], rng: random.Random
) -> list[dict[str, Any]]:
    names = sorted({record.diagnosis for record in train if record.diagnosis})
    pool = [
        Prompt(record, task, plan.stage.name)
        for task, teach in plan.stage.teach.items()
        for record in rng.sample(list(train), len(train))[: teach.limit]
    ]
    rows = []
    for prompt in _in_order(plan, pool, rng):
        task, teach = recipe.tasks[prompt.task], plan.stage.teach[prompt.task]
        if task.target == "caption":
            drawn = recipe.captions if teach.random is True else teach.random or ()
            shown = with_random_caption(prompt.record, train, drawn, teach.share, rng)
            known = {name: shown.caption.get(name, ()) for name in recipe.captions}
            answer = write_caption(known)
        else:
            listed = ranked_names(prompt.record, names, task.length, rng, truth=teach.random is False)
            answer = write_ranked_list(listed)
        rows.append(taught_row(prompt, task.prompt, answer))
    return rows


def _asked(
    recipe: Recipe, plan: StagePlan, train: Sequence[Record], rng: random.Random
) -> list[dict[str, Any]]:
    def prompts(stage: Stage) -> list[Prompt]:
        assert stage.task is not None  # the check demands it of every GRPO stage
        return [Prompt(record, stage.task, stage.name) for record in train]

    own = prompts(plan.stage)
    if plan.stage.replay is None:
        order = list(_in_order(plan, own, rng))
    else:
        earlier = prompts(recipe.stage(plan.stage.replay.stage))
        count = plan.rows.count if plan.rows.count is not None else round(len(own) / (1 - plan.rows.share))
        mixed = interleave(
            _stream(plan.stage.balance, own, rng), shuffled_forever(earlier, rng), plan.rows.share
        )
        order = list(itertools.islice(mixed, count))
    return [prompt_row(prompt, recipe.tasks[prompt.task].prompt) for prompt in order]


def _in_order(plan: StagePlan, pool: Sequence[Prompt], rng: random.Random) -> Iterator[Prompt]:
    """As many prompts as the stage has steps for; each of the pool once when swift counts by epochs."""
    stream = _stream(plan.stage.balance, pool, rng)
    return itertools.islice(stream, plan.rows.count if plan.rows.count is not None else len(pool))


def _stream(balance: str | None, pool: Sequence[Prompt], rng: random.Random) -> Iterator[Prompt]:
    if balance is None:
        return shuffled_forever(pool, rng)
    key: Callable[[Prompt], Any] = partial(_column, balance)
    return balanced_forever(pool, key, rng)


def _column(name: str, prompt: Prompt) -> Any:
    return prompt.record.sample().get(name)


def evaluated(recipe: Recipe, stage: Stage, records: Sequence[Record]) -> list[Record]:
    """The validation records about which the stage's evaluations ask, in their own order.

    Drawn at random, because a source may be sorted by diagnosis; the same in every stage with that limit.
    """
    found = [record for record in records if record.split == "validation"]
    limit = stage.evaluate.limit if stage.evaluate is not None else None
    if limit is None or limit >= len(found):
        return found
    chosen = random.Random(f"{recipe.seed}/evaluate").sample(range(len(found)), limit)
    return [found[position] for position in sorted(chosen)]


def evaluation_rows(recipe: Recipe, task: str, records: Sequence[Record]) -> list[dict[str, Any]]:
    """One question of `task` about every record."""
    return [prompt_row(Prompt(record, task, "evaluation"), recipe.tasks[task].prompt) for record in records]


def vocabulary(recipe: Recipe, records: Sequence[Record]) -> list[str]:
    """All words that the tiny tokenizer should know as one token: prompts, fields, values and diagnoses."""
    texts = [task.prompt for task in recipe.tasks.values()]
    texts += [word for name, values in recipe.captions.items() for word in (name, *values)]
    texts += [record.diagnosis for record in records if record.diagnosis]
    return sorted({word for text in texts for word in text.split()})

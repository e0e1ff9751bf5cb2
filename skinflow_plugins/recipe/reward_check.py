"""What a recipe says about its rewards together: gates, schedules, the judge and the alarms."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from skinflow_plugins.declare import Reward
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.errors import InputError, nearest
from skinflow_plugins.options import check_options
from skinflow_plugins.recipe import lines
from skinflow_plugins.recipe.complaints import Complaints
from skinflow_plugins.recipe.load import filled_options
from skinflow_plugins.recipe.plan import taxonomy_source
from skinflow_plugins.recipe.schema import RewardUse, Stage

REWARD_KEYS = ("weight", "gate", "schedule", "deadline")
"""The keys of a reward that are no options of its own."""


def check_gates(complaints: Complaints, number: int, stage: Stage) -> None:
    """Gates, schedules and deadlines of one stage's rewards."""
    uses = list(complaints.uses(number, stage))
    names = [use.name for _, use in uses]
    for path, use in uses:
        _check_gate(complaints, path, use, names)
        _check_schedule(complaints, path, use)
        if use.deadline is not None and not (math.isfinite(use.deadline) and use.deadline > 0):
            complaints.wrong((*path, "deadline"), f"found {use.deadline}, expected seconds, more than 0")
    gates = {use.name: use.gate.reward for _, use in uses if use.gate is not None}
    for path, use in uses:
        ring = _ring(use.name, gates)
        if len(ring) > 2 and ring[0] == ring[-1]:
            complaints.wrong((*path, "gate"), f"gates lead in a circle: {' -> '.join(ring)}")
            return


def _check_gate(complaints: Complaints, path: lines.Path, use: RewardUse, names: list[str]) -> None:
    if use.gate is None:
        return
    here = (*path, "gate")
    others = [name for name in names if name != use.name]
    if use.gate.reward == use.name:
        complaints.wrong((*here, "reward"), "a reward cannot be its own gate", "name another of this stage")
    elif use.gate.reward not in others:
        known = nearest(use.gate.reward, others) if others else "there is no other"
        hint = "with weight 0 a reward is a gate and nothing else"
        complaints.wrong((*here, "reward"), f"{use.gate.reward!r} is no reward of this stage; {known}", hint)
    entry = complaints.catalogue.table("rewards").get(use.gate.reward)
    if entry is not None and not entry.value.low < use.gate.at_least <= entry.value.high:
        low, high = entry.value.low, entry.value.high
        message = f"found {use.gate.at_least}, expected more than {low:g} and at most {high:g}"
        complaints.wrong((*here, "at_least"), f"{message}, the range of {use.gate.reward!r}")


def _check_schedule(complaints: Complaints, path: lines.Path, use: RewardUse) -> None:
    if use.schedule is None:
        return
    here = (*path, "schedule")
    complaints.at_least((*here, "steps"), use.schedule.steps, 1)
    complaints.at_least((*here, "after"), use.schedule.after, 0)
    if not math.isfinite(use.schedule.to):
        complaints.wrong((*here, "to"), f"found {use.schedule.to}, expected a finite number")


def _ring(start: str, gates: Mapping[str, str]) -> list[str]:
    """The way from one reward over its gates, until it ends or comes to a reward again."""
    way = [start]
    while way[-1] in gates:
        way.append(gates[way[-1]])
        if way[-1] in way[:-1]:
            break
    return way


def check_judge(complaints: Complaints) -> None:
    """The settings of the judge; whether its key is set is not asked, as it may be on another machine."""
    if not complaints.recipe.judge:
        return
    from skinflow_plugins.judging.from_mapping import judge_from

    _check_block(complaints, "judge", lambda: judge_from(complaints.recipe.judge, check_key=False))


def check_vocabulary(complaints: Complaints) -> None:
    """The words that captions may use."""
    if complaints.recipe.vocabulary is None:
        return
    from skinflow_plugins.diagnosis.vocabulary_load import load_vocabulary

    try:
        load_vocabulary(complaints.recipe.vocabulary)
    except InputError as error:
        for problem in error.problems:
            if problem.where:  # within the file
                complaints.problems.append(problem)
            else:
                complaints.wrong(("vocabulary",), problem.message, problem.hint)


def check_alarms(complaints: Complaints) -> None:
    """The limits of the alarms."""
    if not complaints.recipe.alarms:
        return
    from skinflow_plugins.monitoring import AlarmSettings

    _check_block(complaints, "alarms", lambda: AlarmSettings.from_mapping(complaints.recipe.alarms))


def _check_block(complaints: Complaints, block: str, read: Callable[[], object]) -> None:
    try:
        read()
    except InputError as error:
        for problem in error.problems:
            path = (block, problem.path) if problem.path else (block,)
            complaints.wrong(path, problem.message, problem.hint)


def check_reward_options(complaints: Complaints, number: int, stage: Stage) -> None:
    """Options that fit their types and that a reward still refuses: it is called once, on a made-up sample.

    Otherwise the first batch of the stage would say so, hours after an earlier stage was paid for. Nobody is
    asked anything: what would have to be awaited is thrown away.
    """
    for path, use in complaints.uses(number, stage):
        entry = complaints.catalogue.table("rewards").get(use.name)
        if entry is None or not complaints.is_sound(path) or entry.value.is_async:
            continue
        reward: Reward = entry.value
        options = filled_options(complaints.recipe, reward, use.options)
        if check_options(reward.options, options):
            continue  # said before
        try:
            sample = _made_up(complaints, options)
        except InputError:
            continue  # the taxonomy is at fault, and that is said where it is named
        if not set(reward.needs) <= set(sample):
            continue
        try:
            answer = reward.reference(sample, options) if reward.reference else ""
            taxonomy = options.get("taxonomy")
            bound = options | (
                {"taxonomy": taxonomy_source(complaints.catalogue, taxonomy)} if taxonomy else {}
            )
            given = {name: value for name, value in sample.items() if name not in bound}
            if reward.batched:
                found = reward.function([answer], **{name: [value] for name, value in given.items()}, **bound)
            else:
                found = reward.function(answer, **given, **bound)
            if inspect.iscoroutine(found):
                found.close()
        except InputError as error:
            for problem in error.problems:
                if problem.where:  # within a file, and perhaps said before
                    complaints.problems.append(problem)
                else:
                    complaints.wrong(path, problem.message, problem.hint)
        except ValueError as error:
            named = next((name for name in use.options if f"option {name}" in str(error)), None)
            complaints.wrong((*path, named) if named else path, str(error))
        except Exception:  # the sample is made up, and the reward may want more of it
            continue


def _made_up(complaints: Complaints, options: Mapping[str, Any]) -> dict[str, Any]:
    """A sample of the recipe's own taxonomy and caption schema."""
    sample: dict[str, Any] = {"id": "made-up"}
    taxonomy = options.get("taxonomy") or complaints.recipe.taxonomy
    if isinstance(taxonomy, str):
        tree = load_taxonomy(taxonomy_source(complaints.catalogue, taxonomy))
        sample["diagnosis"] = next(iter(tree.labels())).name
    if complaints.recipe.captions:
        sample["caption"] = {
            name: [values[0]] for name, values in complaints.recipe.captions.items() if values
        }
    return sample

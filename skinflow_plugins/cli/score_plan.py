"""The grpo stages whose rewards are tried, and whether the judges that they ask are there."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.declare import Reward
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem, WorkFailed, nearest
from skinflow_plugins.recipe.plan import stage_rewards, taxonomy_source
from skinflow_plugins.recipe.schema import Recipe, Stage, Task
from skinflow_plugins.rewards.composition import Component

SECONDS = 5.0  # for a judge's address to take a connection
_PORTS = {"http": 80, "https": 443}
_PATH = "judge.endpoint"
_HINT = "start it (`skinflow serve` is one), or leave its rewards out with --no-judge"


@dataclass(frozen=True)
class ScoredStage:
    """One grpo stage with its own rewards; those that it replays are tried with the stage that has them.

    `left_out` are sentences about rewards that are not tried.
    """

    name: str
    task: str
    question: Task
    components: tuple[Component, ...]
    taxonomy: Taxonomy | None
    fields: Mapping[str, Sequence[str]]
    balance: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def target(self) -> Literal["caption", "ranked_list"]:
        """The form of the answers."""
        return self.question.target

    @property
    def needs(self) -> dict[str, str]:
        """Column -> the reward that needs it."""
        return {name: each.reward.name for each in self.components for name in each.reward.needs}


def chosen_stages(
    recipe: Recipe, known: Catalogue, name: str | None, *, with_judge: bool
) -> list[ScoredStage]:
    """The grpo stages of a checked recipe, or the one called `name`.

    Raises `InputError` where there are none, and, at once, for a judge that cannot be asked.
    """
    stages = [stage for stage in recipe.stages if stage.kind == "grpo"]
    if not stages:
        raise InputError(Problem(f"{recipe.name} has no grpo stage, so there are no rewards", path="stages"))
    if name is not None:
        names = [stage.name for stage in stages]
        if name not in names:
            raise InputError(Problem(f"--stage: there is no grpo stage {name!r}; {nearest(name, names)}"))
        stages = [stage for stage in stages if stage.name == name]
    found = [_scored(recipe, known, stage, with_judge=with_judge) for stage in stages]
    problems = [
        Problem(f"no reward of the stage {stage.name!r} is left without a judge", hint="leave out --no-judge")
        for stage in found
        if not stage.components
    ]
    if with_judge:
        judges = [each.options["judge"] for stage in found for each in stage.components if asks_judge(each)]
        problems += _unreachable(judges) if judges else []
    if problems:
        raise InputError(problems)
    return found


def asks_judge(component: Component) -> bool:
    """Whether a reward asks a judge: one that it must have, or one that another option calls for."""
    if not component.options.get("judge"):
        return False
    must = any(option.name == "judge" and option.required for option in component.reward.options)
    return must or _calls_for_judge(component)


def _calls_for_judge(component: Component) -> bool:
    """Whether an option says so, as `accept: judge` does."""
    return "judge" in [value for value in component.options.values() if isinstance(value, str)]


def _scored(recipe: Recipe, known: Catalogue, stage: Stage, *, with_judge: bool) -> ScoredStage:
    assert stage.task is not None  # the check demands it of every grpo stage
    own = [plan.component(known) for plan in stage_rewards(recipe, known, replace(stage, replay=None))]
    left_out: list[str] = []
    if not with_judge:
        for each in [each for each in own if asks_judge(each)]:
            left_out.append(f"{each.reward.name} is left out: it asks a judge")
            own.remove(each)
        while without := [each for each in own if each.gate and each.gate.key not in {o.key for o in own}]:
            for each in without:
                left_out.append(f"{each.reward.name} is left out: so is its gate")
                own.remove(each)
    sources = [each.options["taxonomy"] for each in own if isinstance(each.options.get("taxonomy"), str)]
    if recipe.taxonomy is not None:
        sources.append(taxonomy_source(known, recipe.taxonomy))
    return ScoredStage(
        stage.name,
        stage.task,
        recipe.tasks[stage.task],
        tuple(own),
        load_taxonomy(sources[0]) if sources else None,
        recipe.captions,
        stage.balance,
        tuple(left_out),
    )


def _unreachable(judges: Sequence[Any]) -> list[Problem]:
    """What is wrong with the judges' settings here, and judges that cannot be asked."""
    from skinflow_plugins.judging import judge_from, reach  # with numpy, so only where it is needed
    from skinflow_plugins.rewards import background

    problems: list[Problem] = []
    seen = set()
    for settings in judges:
        try:
            judge = judge_from(settings)
        except InputError as error:
            problems += [replace(each, path=f"judge.{each.path}".rstrip(".")) for each in error.problems]
            continue
        if judge in seen:
            continue
        seen.add(judge)
        fault = _refused(judge.endpoint)
        if fault:  # a call would try again and again
            problems.append(Problem(f"nobody answers at {judge.endpoint}: {fault}", path=_PATH, hint=_HINT))
            continue
        try:
            background.run(reach(judge))
        except WorkFailed as error:
            problems.append(Problem(str(error), path=_PATH, hint=_HINT))
    return list(dict.fromkeys(problems))


def _refused(endpoint: str) -> str:
    """Why nobody takes a connection at an address; behind a proxy only a call can tell."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if getproxies().get(parts.scheme) and not proxy_bypass(host):
        return ""
    try:
        socket.create_connection((host, parts.port or _PORTS[parts.scheme]), SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def reference_of(reward: Reward, sample: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
    """The reward's own best answer to a sample; None for one of form alone, or that gives none."""
    if reward.reference is None or not reward.content:
        return None
    try:
        return reward.reference(sample, options)
    except Exception as error:  # a third party's function may fail in any way
        who = f"sample {sample.get('id', '?')}"
        message = f"the reference answer of the reward {reward.name!r} to {who} cannot be made"
        raise InputError(Problem(f"{message}: {type(error).__name__}: {error}")) from error

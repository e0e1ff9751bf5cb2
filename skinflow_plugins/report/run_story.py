"""What a run folder tells: its recipe, its stages with their curves, gates and times, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.report.curves import (
    Curve,
    LastStep,
    Lines,
    evaluation_curves,
    logged_curves,
    reward_curves,
)
from skinflow_plugins.report.reward_story import RewardStory, read_rewards
from skinflow_plugins.report.wording import and_so, count, finite

CURVES = ("loss", "kl", "token_acc")
"""Numbers of swift's log that are shown where they were logged."""
_MEAN, _MIN, _MAX = (f"completions/{name}_length" for name in ("mean", "min", "max"))


@dataclass(frozen=True)
class Gate:
    """What a stage had to reach, and what it reached."""

    metric: str
    value: float
    at_least: float

    @property
    def passed(self) -> bool:
        return self.value >= self.at_least


@dataclass(frozen=True)
class StageStory:
    """One stage: what the recipe says of it, whether it finished, and its curves."""

    number: int
    name: str
    kind: str
    task: str
    rewards_asked: tuple[str, ...]
    finished: bool
    seconds: float | None = None
    resumed: bool = False
    gate: Gate | None = None
    completions: int = 0
    rewards: tuple[Curve, ...] = ()
    length: Curve | None = None
    length_unit: str = "tokens"
    logged: tuple[Curve, ...] = ()
    evaluations: tuple[Curve, ...] = ()
    watched: RewardStory = field(default_factory=RewardStory)
    missing: tuple[str, ...] = ()

    @property
    def last_step(self) -> int | None:
        curves = (*self.rewards, *self.logged, *([self.length] if self.length else []))
        return max((curve.steps[-1] for curve in curves if curve.steps), default=None)


@dataclass(frozen=True)
class RunStory:
    """A run as a report tells it; `missing` has one sentence for whatever is not there."""

    folder: str
    recipe: Mapping[str, Any]
    stages: tuple[StageStory, ...]
    rows: tuple[Mapping[str, Any], ...] = ()
    split: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or self.folder)

    @property
    def base(self) -> str:
        """The base model as the recipe names it; empty when it names none."""
        model = self.recipe.get("model")
        return str(model.get("base") or "") if isinstance(model, Mapping) else ""

    @property
    def finished(self) -> bool:
        return bool(self.stages) and all(stage.finished for stage in self.stages)


def read_run(root: Path) -> RunStory:
    """The story of the run in the folder `root`.

    A killed run, or one whose files are partly gone, is told as far as it goes. Raises `InputError` when
    `root` holds no run.
    """
    identity = _json(root / "run.json")
    recipe = identity.get("recipe") if identity is not None else None
    if identity is None or not isinstance(recipe, Mapping):
        what = "holds no run: there is no run.json of ours" if root.is_dir() else "there is no such folder"
        raise InputError(Problem(what, where=str(root), hint="name the folder that `skinflow run -o` wrote"))
    missing: list[str] = []
    environment = _json(root / "environment.json")
    if environment is None:
        missing.append("environment.json is missing: versions and hardware are not known")
    results = _json(root / "results.json")
    if results is None:
        missing.append("results.json is missing: no stage came as far as its evaluation")
    results = results or {}
    gates = _listed(results.get("gates"))
    stages = tuple(
        _stage(root, number, stage, gates)
        for number, stage in enumerate(_listed(recipe.get("stages")), start=1)
    )
    unfinished = [stage.name for stage in stages if not stage.finished]
    if unfinished:
        missing.append(f"not finished: {'stage' if len(unfinished) == 1 else 'stages'} {and_so(unfinished)}")
    return RunStory(
        root.resolve().name,
        recipe,
        stages,
        tuple(_listed(results.get("rows"))),
        str(results.get("split") or ""),
        environment or {},
        str(identity.get("digest") or ""),
        tuple(missing),
    )


def _stage(
    root: Path, number: int, stage: Mapping[str, Any], gates: Sequence[Mapping[str, Any]]
) -> StageStory:
    name = str(stage.get("name") or number)
    folder = root / "stages" / f"{number}-{name}"
    asked = tuple(str(key) for reward in _listed(stage.get("rewards")) for key in reward)
    done = _json(folder / "done.json")
    missing: list[str] = []
    if not folder.is_dir():
        missing.append("the stage was not begun: it has no folder")
    last = LastStep()
    rewards, letters, completions = _rewards(folder, bool(asked), last, missing)
    logged = _logged(folder, missing)
    length, unit = _length(logged), "tokens"
    if length is None and letters is not None:
        length, unit = letters, "letters"
    return StageStory(
        number,
        name,
        str(stage.get("kind") or ""),
        str(stage.get("task") or ""),
        asked,
        done is not None,
        finite((done or {}).get("seconds")),
        bool((done or {}).get("resumed")),
        _gate(name, gates),
        completions,
        tuple(rewards),
        length,
        unit,
        tuple(logged[key] for key in CURVES if key in logged),
        _evaluations(folder, missing),
        read_rewards(folder, last.shown(), lambda lines: _say_broken(lines, missing)),
        tuple(missing),
    )


def _rewards(
    folder: Path, asked: bool, last: LastStep, missing: list[str]
) -> tuple[list[Curve], Curve | None, int]:
    paths = [folder / "rewards.jsonl"]
    if not paths[0].is_file():
        paths = sorted(folder.glob("rewards.rank*.jsonl"))
        if paths:
            missing.append("rewards.jsonl is not written yet: read from the parts of the processes instead")
    if not paths:
        if asked and folder.is_dir():
            missing.append("there is no log of rewards")
        return [], None, 0
    lines = Lines(paths)
    found = reward_curves(lines, last)
    _say_broken(lines, missing)
    return found


def _logged(folder: Path, missing: list[str]) -> dict[str, Curve]:
    path = folder / "logging.jsonl"
    if not path.is_file():
        if folder.is_dir():
            missing.append("logging.jsonl is missing: loss and KL are not known")
        return {}
    lines = Lines([path])
    found = logged_curves(lines)
    _say_broken(lines, missing)
    return found


def _evaluations(folder: Path, missing: list[str]) -> tuple[Curve, ...]:
    path = folder / "evaluations.jsonl"
    if not path.is_file():
        return ()
    lines = Lines([path])
    found = evaluation_curves(lines)
    _say_broken(lines, missing)
    return tuple(found.values())


def _say_broken(lines: Lines, missing: list[str]) -> None:
    if lines.broken:
        word = "line is" if lines.broken == 1 else "lines are"
        names = and_so(path.name for path in lines.paths)
        missing.append(f"{count(lines.broken)} {word} broken in {names} and left out")


def _length(logged: Mapping[str, Curve]) -> Curve | None:
    mean = logged.get(_MEAN)
    if mean is None:
        return None
    low, high = (logged.get(name) for name in (_MIN, _MAX))
    if low is None or high is None or not low.steps == high.steps == mean.steps:
        return Curve("mean", mean.steps, mean.values)
    return Curve("mean", mean.steps, mean.values, low.values, high.values)


def _gate(stage: str, gates: Sequence[Mapping[str, Any]]) -> Gate | None:
    for gate in gates:
        value, least = finite(gate.get("value")), finite(gate.get("at_least"))
        if gate.get("stage") == stage and value is not None and least is not None:
            return Gate(str(gate.get("metric") or "?"), value, least)
    return None


def _listed(given: object) -> list[Mapping[str, Any]]:
    """The mappings of what ought to be a list of them."""
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []


def _json(path: Path) -> dict[str, Any] | None:
    """What a JSON file holds; None when it is missing, broken or no mapping."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

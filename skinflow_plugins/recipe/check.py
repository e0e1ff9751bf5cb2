"""Every mistake in a loaded recipe at once: against the catalogue, the data's head and swift's arguments.

Nothing is written and no model is opened; of the data only the head is read.
"""

from __future__ import annotations

import math
import re

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.recipe import base_model, lines
from skinflow_plugins.recipe.complaints import Complaints
from skinflow_plugins.recipe.data_check import check_columns, check_data
from skinflow_plugins.recipe.evaluation_check import check_evaluation
from skinflow_plugins.recipe.load import Loaded
from skinflow_plugins.recipe.reward_check import (
    REWARD_KEYS,
    check_alarms,
    check_gates,
    check_judge,
    check_reward_options,
    check_vocabulary,
)
from skinflow_plugins.recipe.schema import DEFAULT_TASKS, Recipe, Stage
from skinflow_plugins.recipe.speed_check import check_speed
from skinflow_plugins.recipe.swift_arguments import Kind
from skinflow_plugins.recipe.swift_check import check_argument, check_swift

_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STAGE_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9_-]*")  # no dots, no bare numbers: see `key=value`


def check(loaded: Loaded, catalogue: Catalogue) -> list[Problem]:
    """Every problem of the recipe, in the order of its files and lines; an empty list when there is none."""
    return _Check(loaded, catalogue).run()


def checked(loaded: Loaded, catalogue: Catalogue) -> Recipe:
    """The recipe, when nothing is wrong with it; otherwise an `InputError` with every problem."""
    problems = check(loaded, catalogue)
    if problems:
        raise InputError(problems)
    return loaded.recipe


class _Check(Complaints):
    """One pass over a draft recipe."""

    def run(self) -> list[Problem]:
        self.names()
        self.model()
        self.blocks()
        head = check_data(self)
        for number, stage in enumerate(self.recipe.stages):
            self.stage(number, stage)
            if head is not None:
                check_columns(self, number, stage, head)
        check_swift(self)
        check_speed(self)
        check_judge(self)
        check_alarms(self)
        check_vocabulary(self)
        files = [self.loaded.place(()).file]
        for place in self.loaded.places.values():
            if place.file not in files:
                files.append(place.file)
        order = {file: position for position, file in enumerate(files)}
        once = dict.fromkeys(self.problems)
        return sorted(once, key=lambda p: (order.get(p.where, len(order)), p.line or 0))

    # --- names of the recipe itself ----------------------------------------------------------------------

    def names(self) -> None:
        recipe = self.recipe
        if recipe.name and not _FOLDER_NAME.fullmatch(recipe.name):
            self.wrong(("name",), f"{recipe.name!r} cannot name a folder", "use letters, digits, - and _")
        if not recipe.stages:
            self.wrong(("stages",), "there are no stages", "a recipe needs at least one")
        seen: dict[str, str] = {}
        for number, stage in enumerate(recipe.stages):
            path: lines.Path = ("stages", number, "name")
            if not stage.name:
                continue
            if stage.name == "base":
                self.wrong(path, "'base' is what `init` calls the base model", "use another name")
            elif not _STAGE_NAME.fullmatch(stage.name):
                hint = "use letters, digits, - and _, and not digits alone"
                self.wrong(path, f"{stage.name!r} cannot name a stage's folder", hint)
            elif stage.name.lower() in seen:
                self.wrong(path, f"a second stage named {stage.name!r}", "give each stage a name of its own")
            seen[stage.name.lower()] = stage.name

    # --- model -------------------------------------------------------------------------------------------

    def model(self) -> None:
        model = self.recipe.model
        for mistake in base_model.mistakes(model, self.catalogue):
            self.wrong(*mistake)
        encoder = self.catalogue.table("vision_encoders").get(model.vision.encoder)
        path: lines.Path = ("model", "vision")
        if encoder is not None:
            self.options(path, encoder.value, model.vision.options, ["encoder"])
        elif path in self.loaded.places:
            self.wrong((*path, "encoder"), self.catalogue.unknown("vision_encoders", model.vision.encoder))

    # --- blocks that stand alone -------------------------------------------------------------------------

    def blocks(self) -> None:
        recipe = self.recipe
        self.taxonomy(("taxonomy",), recipe.taxonomy)
        self.taxonomy(("eval", "taxonomy"), recipe.eval.taxonomy)
        for name, least in (("top_k", 1), ("batch_size", 1), ("max_new_tokens", 1), ("limit", 1)):
            self.at_least(("eval", name), getattr(recipe.eval, name), least)
        self.at_least(("seed",), recipe.seed, 0)
        for name, values in recipe.captions.items():
            if not values or len(set(values)) < len(values):
                self.wrong(("captions", name), f"found {list(values)}, expected values that differ")
        for name, task in recipe.tasks.items():
            self.at_least(("tasks", name, "length"), task.length, 1)
        self.at_least(("launch", "processes"), recipe.launch.processes, 1)
        if recipe.launch.mode == "inline" and recipe.launch.processes > 1:
            hint = "write `mode: process`, or `processes: 1`"
            self.wrong(("launch", "processes"), "inline runs in one process only", hint)
        rollouts = recipe.rollouts
        if rollouts.engine != "vllm":
            for name in ("mode", "timeout", "tolerance", "options"):
                if ("rollouts", name) in self.loaded.places:
                    self.wrong(("rollouts", name), f"{name!r} belongs to vLLM", "write `engine: vllm`")
        else:
            kinds: list[Kind] = ["grpo", "rollout"] if rollouts.mode == "server" else ["grpo"]
            for name, value in rollouts.options.items():
                check_argument(self, ("rollouts", "options", name), name, value, kinds)

    # --- stages ------------------------------------------------------------------------------------------

    def stage(self, number: int, stage: Stage) -> None:
        here: lines.Path = ("stages", number)
        earlier = [other for other in self.recipe.stages[:number] if other.name]
        if stage.init is not None and stage.init not in ("base", *(other.name for other in earlier)):
            known = nearest(stage.init, ["base", *(other.name for other in earlier)])
            self.wrong((*here, "init"), f"{stage.init!r} is no earlier stage; {known}")
        if stage.task is not None:
            self.task((*here, "task"), stage.task)
        for name, teach in stage.teach.items():
            self.task((*here, "teach", name), name)
            self.at_least((*here, "teach", name, "limit"), teach.limit, 1)
            if isinstance(teach.random, tuple):
                for position, field in enumerate(teach.random):
                    if field not in self.recipe.captions:
                        known = nearest(field, self.recipe.captions)
                        path = (*here, "teach", name, "random", position)
                        self.wrong(path, f"{field!r} is no field of `captions:`; {known}")
        if stage.kind == "grpo":
            self.grpo(number, stage)
        elif stage.kind == "sft":
            self.sft(here, stage)
        if stage.replay is not None:
            self.replay(here, stage, earlier)
        if stage.gate is not None and stage.gate.metric:
            entry = self.catalogue.table("metrics").get(stage.gate.metric)
            if entry is None:
                unknown = self.catalogue.unknown("metrics", stage.gate.metric)
                self.wrong((*here, "gate", "metric"), unknown)
            else:
                self.options((*here, "gate"), entry.value, stage.gate.options, ["metric", "at_least"])
        if stage.gate is not None and not math.isfinite(stage.gate.at_least):
            self.wrong((*here, "gate", "at_least"), f"found {stage.gate.at_least}, expected a finite number")
        if stage.evaluate is not None:
            check_evaluation(self, number, stage, stage.evaluate)

    def task(self, path: lines.Path, name: str) -> None:
        """That a task is known, and that a caption task has a caption schema."""
        task = self.recipe.tasks.get(name)
        if task is None:
            known = nearest(name, {*self.recipe.tasks, *DEFAULT_TASKS})
            self.wrong(
                path, f"unknown task {name!r}; {known}", "tasks of your own are defined under `tasks:`"
            )
        elif task.target == "caption" and not self.recipe.captions:
            hint = "list every caption field with its values"
            self.wrong(("captions",), f"is missing; the task {name!r} asks for captions", hint)

    def sft(self, here: lines.Path, stage: Stage) -> None:
        if not stage.teach:
            hint = "for example teach: {caption: {}, diagnosis: {limit: 400}}"
            self.wrong((*here, "teach"), "is missing; an sft stage says what it teaches", hint)
        for name in ("rewards", "replay", "task"):
            if getattr(stage, name):
                self.wrong((*here, name), f"only grpo stages have {name!r}")

    def grpo(self, number: int, stage: Stage) -> None:
        here: lines.Path = ("stages", number)
        if stage.task is None:
            hint = "for example task: diagnosis"
            self.wrong((*here, "task"), "is missing; a grpo stage asks one task", hint)
        if stage.teach:
            self.wrong((*here, "teach"), "only sft stages have 'teach'")
        if not stage.rewards:
            hint = "for example rewards: [{format: {weight: 0.2}}]"
            self.wrong((*here, "rewards"), "is missing; a grpo stage has at least one reward", hint)
        elif not any(use.weight for use in stage.rewards):
            self.wrong((*here, "rewards"), "every weight is 0, so there is nothing to learn")
        seen = set()
        for path, use in self.uses(number, stage):
            if use.name in seen:
                hint = "join them into one, or register the second under another name"
                self.wrong(path, f"the reward {use.name!r} stands twice in this stage", hint)
            seen.add(use.name)
            if not math.isfinite(use.weight):
                self.wrong((*path, "weight"), f"found {use.weight}, expected a finite number")
            entry = self.catalogue.table("rewards").get(use.name)
            if entry is None:
                self.wrong(path, self.catalogue.unknown("rewards", use.name))
            else:
                self.options(path, entry.value, use.options, REWARD_KEYS)
        check_gates(self, number, stage)
        check_reward_options(self, number, stage)

    def replay(self, here: lines.Path, stage: Stage, earlier: list[Stage]) -> None:
        assert stage.replay is not None
        name, share = stage.replay.stage, stage.replay.share
        possible = [other.name for other in earlier if other.kind == "grpo"]
        if name and name not in possible:
            message = f"{name!r} is no earlier grpo stage; {nearest(name, possible)}"
            self.wrong((*here, "replay", "stage"), message)
        if not 0 < share < 1:
            self.wrong((*here, "replay", "share"), f"found {share}, expected a share between 0 and 1")

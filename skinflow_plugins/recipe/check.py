"""Every mistake in a loaded recipe at once: against the catalogue, the data's head and swift's arguments.

Nothing is written and no model is opened; of the data only the head is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.data.record import Head
from skinflow_plugins.declare import Dataset, Declared
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.options import check_options
from skinflow_plugins.recipe import base_model, hand_over, lines, swift_arguments
from skinflow_plugins.recipe.batches import batches
from skinflow_plugins.recipe.lines import quoted_number
from skinflow_plugins.recipe.load import Loaded, filled_options
from skinflow_plugins.recipe.plan import taxonomy_source
from skinflow_plugins.recipe.schema import DEFAULT_TASKS, Recipe, RewardUse, Stage
from skinflow_plugins.recipe.swift_arguments import Kind

ALWAYS_THERE = frozenset({"id"})
"""Columns of every sample, whatever the source."""

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


class _Check:
    """One pass over a draft recipe. Values that are faulty in shape were reported, and are left alone."""

    def __init__(self, loaded: Loaded, catalogue: Catalogue) -> None:
        self.loaded = loaded
        self.recipe = loaded.draft
        self.catalogue = catalogue
        self.problems: list[Problem] = list(loaded.problems)

    def run(self) -> list[Problem]:
        self.names()
        self.model()
        self.blocks()
        head = self.data()
        for number, stage in enumerate(self.recipe.stages):
            self.stage(number, stage)
            if head is not None:
                self.columns(number, stage, head)
        self.swift()
        files = [self.loaded.place(()).file]
        for place in self.loaded.places.values():
            if place.file not in files:
                files.append(place.file)
        order = {file: position for position, file in enumerate(files)}
        once = dict.fromkeys(self.problems)
        return sorted(once, key=lambda p: (order.get(p.where, len(order)), p.line or 0))

    def wrong(self, path: lines.Path, message: str, hint: str = "") -> None:
        """Notes a problem, unless something at, above or below `path` is faulty in shape already."""
        for other in self.loaded.faulty:
            shorter = min(len(other), len(path))
            if other[:shorter] == path[:shorter]:
                return
        self.problems.append(self.loaded.place(path).problem(path, message, hint))

    def is_sound(self, path: lines.Path) -> bool:
        return not any(other[: len(path)] == path for other in self.loaded.faulty)

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
            for name in ("mode", "options"):
                if ("rollouts", name) in self.loaded.places:
                    self.wrong(("rollouts", name), f"{name!r} belongs to vLLM", "write `engine: vllm`")
        else:
            for name, value in rollouts.options.items():
                self.argument(("rollouts", "options", name), name, value, ["grpo"])

    def at_least(self, path: lines.Path, value: int | None, least: int) -> None:
        if value is not None and value < least:
            self.wrong(path, f"found {value}, expected {least} or more")

    def taxonomy(self, path: lines.Path, name: Any) -> None:
        known = self.catalogue.table("taxonomies")
        if isinstance(name, str) and name not in known and not Path(name).expanduser().is_file():
            self.wrong(path, f"{self.catalogue.unknown('taxonomies', name)}, and there is no such file")
        elif isinstance(name, str):
            try:
                load_taxonomy(taxonomy_source(self.catalogue, name))
            except InputError as error:
                self.problems += error.problems

    # --- plug-ins and their options ----------------------------------------------------------------------

    def options(
        self, path: lines.Path, declared: Declared, given: Mapping[str, Any], beside: Sequence[str]
    ) -> bool:
        """Notes wrong options of a plug-in, in a block with the keys `beside`; says whether all are right."""
        filled = filled_options(self.recipe, declared, given)
        found = check_options(declared.options, filled)
        for name, message in found:
            hint = quoted_number(filled.get(name))
            options = [option.name for option in declared.options]
            if name not in options:
                message = f"unknown option {name!r}; {nearest(name, [*options, *beside])}"
            if name not in filled and name in ("taxonomy", "fields"):
                block = "taxonomy" if name == "taxonomy" else "captions"
                hint = f"give it here, or give the recipe a `{block}:` for all"
            self.wrong((*path, name), message, hint)
        if "taxonomy" in given:
            self.taxonomy((*path, "taxonomy"), given["taxonomy"])
        return not found

    def data(self) -> Head | None:
        """What the data source shows of itself; None when it cannot be asked or finds something wrong."""
        data = self.recipe.data
        if not data.source:
            return None
        entry = self.catalogue.table("datasets").get(data.source)
        if entry is None:
            self.wrong(("data", "source"), self.catalogue.unknown("datasets", data.source))
            return None
        source: Dataset = entry.value
        if not self.options(("data",), source, data.options, ["source"]) or not self.is_sound(("data",)):
            return None
        if source.head is None:
            return None
        try:
            head = source.head(filled_options(self.recipe, source, data.options))
        except InputError as error:
            self.problems += error.problems
            return None
        except Exception as error:  # a plug-in's code may fail in any way; the other checks go on
            message = f"the source {data.source!r} failed: {type(error).__name__}: {error}"
            self.wrong(("data",), message, f"it comes from {entry.owner}")
            return None
        for sentence in head.problems:
            # A sentence may begin with the option that it is about.
            name, colon, rest = sentence.removeprefix("data.").partition(": ")
            about = colon and any(name == option.name for option in source.options)
            self.wrong(("data", name) if about else ("data",), rest if about else sentence)
        return None if head.problems else head

    def columns(self, number: int, stage: Stage, head: Head) -> None:
        """That the data has the columns which the stage's rewards, tasks and balance read."""
        there = head.columns | ALWAYS_THERE
        source = self.recipe.data.source
        wanted: list[tuple[lines.Path, str, str]] = []
        for path, use in self.uses(number, stage):
            entry = self.catalogue.table("rewards").get(use.name)
            needs = entry.value.needs if entry else ()
            wanted += [(path, column, f"the reward {use.name!r} needs") for column in needs]
        for name in stage.teach:
            if (task := self.recipe.tasks.get(name)) is not None:
                column = "caption" if task.target == "caption" else "diagnosis"
                wanted.append((("stages", number, "teach", name), column, f"the task {name!r} teaches"))
        if stage.balance is not None:
            wanted.append((("stages", number, "balance"), stage.balance, "batches are balanced over"))
        for path, column, who in wanted:
            if column not in there:
                known = ", ".join(sorted(there))
                message = f"{who} the column {column!r}, which the source {source!r} does not have"
                self.wrong(path, message, f"it has: {known}")

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
                self.options(path, entry.value, use.options, ["weight"])

    def uses(self, number: int, stage: Stage) -> Iterator[tuple[lines.Path, RewardUse]]:
        """The stage's rewards with their places; a reward given by its name alone is a place of its own."""
        uses = iter(stage.rewards)
        for position, item in enumerate(self.raw_rewards(number)):
            path: lines.Path = ("stages", number, "rewards", position)
            if isinstance(item, str):
                yield path, next(uses)
            elif isinstance(item, Mapping) and len(item) == 1:
                [(name, given)] = item.items()
                if given is None or isinstance(given, Mapping):
                    yield (*path, name), next(uses)

    def raw_rewards(self, number: int) -> list[Any]:
        stages = self.loaded.mapping["stages"]
        rewards = stages[number].get("rewards") if isinstance(stages[number], Mapping) else None
        return rewards if isinstance(rewards, list) else []

    def replay(self, here: lines.Path, stage: Stage, earlier: list[Stage]) -> None:
        assert stage.replay is not None
        name, share = stage.replay.stage, stage.replay.share
        possible = [other.name for other in earlier if other.kind == "grpo"]
        if name and name not in possible:
            message = f"{name!r} is no earlier grpo stage; {nearest(name, possible)}"
            self.wrong((*here, "replay", "stage"), message)
        if not 0 < share < 1:
            self.wrong((*here, "replay", "share"), f"found {share}, expected a share between 0 and 1")

    # --- arguments of swift ------------------------------------------------------------------------------

    def swift(self) -> None:
        try:
            swift_arguments.arguments("grpo")
        except ModuleNotFoundError as error:
            self.wrong(("swift",), f"cannot check the arguments of swift: {error}", "pip install ms-swift")
            return
        kinds: list[Kind] = [
            kind for kind in ("sft", "grpo") if any(s.kind == kind for s in self.recipe.stages)
        ]
        for number, message, hint in hand_over.mistakes(self.recipe):
            here = self.recipe.stages[number].swift
            path = ("stages", number, "swift", "tuner_type") if "tuner_type" in here else ("swift",)
            self.wrong(path, message, hint)
        for name, value in self.recipe.swift.items():
            self.argument(("swift", name), name, value, kinds or ["grpo"])
        for number, stage in enumerate(self.recipe.stages):
            if stage.kind not in ("sft", "grpo"):
                continue
            for name, value in stage.swift.items():
                self.argument(("stages", number, "swift", name), name, value, [stage.kind])
            self.amounts(("stages", number, "swift"), stage)

    def argument(self, path: lines.Path, name: str, value: Any, kinds: list[Kind]) -> None:
        """Notes what is wrong with an argument for the stages, among these kinds, whose program knows it."""
        kinds = [kind for kind in kinds if name in swift_arguments.arguments(kind)] or kinds[:1]
        found = (swift_arguments.mistake(name, value, kind) for kind in kinds)
        if first := next(filter(None, found), None):
            self.wrong(path, *first)

    def amounts(self, path: lines.Path, stage: Stage) -> None:
        """That a stage ends, and that its groups of completions fill its batches."""
        given = swift_arguments.given(self.recipe, stage)

        def at(name: str) -> lines.Path:
            return ("swift", name) if name in self.recipe.swift and name not in stage.swift else (*path, name)

        def number(name: str, default: float) -> float:
            value = given.get(name, default)
            return value if isinstance(value, (int, float)) and not isinstance(value, bool) else default

        if not any(name in given for name in ("max_steps", "num_train_epochs")):
            hint = "give it here, or under the recipe's own `swift:`"
            self.wrong((*path, "max_steps"), "is missing; give max_steps or num_train_epochs", hint)
        elif number("max_steps", -1) <= 0 and number("num_train_epochs", 0) <= 0:
            self.wrong(at("max_steps"), "max_steps or num_train_epochs must be above 0")
        if given.get("save_strategy") == "no":
            self.wrong(at("save_strategy"), "found 'no', but the next stage starts from a checkpoint")
        if given.get("save_only_model") is True:
            message = "is true, but an interrupted stage goes on with the optimizer's state"
            self.wrong(at("save_only_model"), message)
        if stage.balance and number("max_steps", -1) <= 0:
            self.wrong(at("max_steps"), "is missing; batches can be balanced over a known number of steps")
        if stage.kind != "grpo" or not self.is_sound(("launch",)):
            return
        try:
            sizes = batches(given, self.recipe.launch.processes)
        except ValueError as error:
            self.wrong(at("per_device_train_batch_size"), str(error))
            return
        batch, group = sizes.generated, sizes.group
        if group < 2:
            message = f"found {group}; a group needs at least 2 completions to compare"
            self.wrong(at("num_generations"), message)
        elif batch < 1 or batch % group:
            message = f"{batch} completions per generation batch cannot be cut into groups of {group}"
            hint = (
                "generation_batch_size, or else per_device_train_batch_size x processes x "
                "gradient_accumulation_steps, must be a multiple of num_generations"
            )
            self.wrong(at("num_generations"), message, hint)

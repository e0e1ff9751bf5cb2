"""What every check of a recipe works with: the draft, the places in its files, and the problems so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.declare import Declared
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.options import check_options
from skinflow_plugins.recipe import lines
from skinflow_plugins.recipe.lines import quoted_number
from skinflow_plugins.recipe.load import Loaded, filled_options
from skinflow_plugins.recipe.plan import taxonomy_source
from skinflow_plugins.recipe.schema import RewardUse, Stage


class Complaints:
    """The problems of a draft recipe. Values that are faulty in shape were reported, and are left alone."""

    def __init__(self, loaded: Loaded, catalogue: Catalogue) -> None:
        self.loaded = loaded
        self.recipe = loaded.draft
        self.catalogue = catalogue
        self.problems: list[Problem] = list(loaded.problems)

    def wrong(self, path: lines.Path, message: str, hint: str = "") -> None:
        """Notes a problem, unless something at, above or below `path` is faulty in shape already."""
        for other in self.loaded.faulty:
            shorter = min(len(other), len(path))
            if other[:shorter] == path[:shorter]:
                return
        self.problems.append(self.loaded.place(path).problem(path, message, hint))

    def is_sound(self, path: lines.Path) -> bool:
        return not any(other[: len(path)] == path for other in self.loaded.faulty)

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
            if name not in filled and name in ("taxonomy", "fields", "judge"):
                block = "captions" if name == "fields" else name
                hint = f"give it here, or give the recipe a `{block}:` for all"
            self.wrong((*path, name), message, hint)
        if "taxonomy" in given:
            self.taxonomy((*path, "taxonomy"), given["taxonomy"])
        return not found

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

"""From a plain mapping to a `Recipe`: keys, types and required values, driven by the dataclasses of `schema`.

A draft recipe is built whatever is wrong, with defaults or blanks in the place of faulty values, so that the
remaining checks can run in the same pass; `faulty` says which paths they must leave alone.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from skinflow_plugins.errors import Problem, nearest
from skinflow_plugins.recipe.lines import Path, Place, quoted_number
from skinflow_plugins.recipe.schema import DEFAULT_TASKS, OTHER_KEYS, Recipe, RewardUse, Task

PlaceOf = Callable[[Path], Place]


@dataclasses.dataclass
class Shape:
    """The draft recipe with what is wrong about its shape; it is the recipe when there are no problems."""

    draft: Recipe
    problems: list[Problem]
    faulty: set[Path]


def read(mapping: Mapping[str, Any], place_of: PlaceOf, faulty: set[Path]) -> Shape:
    """The shape of a resolved recipe; paths in `faulty` were reported before and are not reported again."""
    reader = _Reader(place_of, set(faulty))
    draft = reader.block(Recipe, mapping, ())
    tasks = {name: task for name, task in draft.tasks.items() if name}
    used = {stage.task for stage in draft.stages} | {name for stage in draft.stages for name in stage.teach}
    tasks |= {name: DEFAULT_TASKS[name] for name in DEFAULT_TASKS if name in used and name not in tasks}
    return Shape(dataclasses.replace(draft, tasks=tasks), reader.problems, reader.faulty)


class _Reader:
    def __init__(self, place_of: PlaceOf, faulty: set[Path]) -> None:
        self.place_of = place_of
        self.faulty = faulty
        self.problems: list[Problem] = []

    def wrong(self, path: Path, message: str, hint: str = "") -> None:
        if path not in self.faulty:
            self.problems.append(self.place_of(path).problem(path, message, hint))
            self.faulty.add(path)

    def block(self, cls: Any, value: Any, path: Path) -> Any:
        """An instance of a dataclass of the schema."""
        if not isinstance(value, Mapping):
            names = ", ".join(field.name for field in dataclasses.fields(cls))
            self.wrong(path, f"found {_found(value)}, expected a mapping with some of: {names}")
            value = {}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        rest = next((name for name, field in fields.items() if field.metadata == OTHER_KEYS), None)
        known = fields.keys() - {rest}
        others = {key: item for key, item in value.items() if key not in known}
        arguments: dict[str, Any] = {rest: others} if rest else {}
        for key in () if rest else others:
            advice = nearest(key, known)
            self.wrong((*path, key), f"unknown key {key!r}; {advice}")
            # Whoever misspelt a key need not also hear that the right one is missing.
            self.faulty |= {(*path, name) for name in known - value.keys() if repr(name) in advice}
        hints = typing.get_type_hints(cls)
        for name in fields:
            if name == rest:
                continue
            here = (*path, name)
            default = _default(fields[name])
            if (item := value.get(name)) is not None:
                arguments[name] = self.value(hints[name], item, here, default)
            elif default is dataclasses.MISSING:
                arguments[name] = self.blank(hints[name])
                missing = "is null" if name in value else "is missing"
                self.wrong(here, f"{missing}; expected {_expected(hints[name])}")
            else:
                arguments[name] = default
        return cls(**arguments)

    def blank(self, annotation: Any) -> Any:
        """What stands in the draft for a required value that is missing or of the wrong type."""
        if dataclasses.is_dataclass(annotation):
            fields = dataclasses.fields(annotation)
            hints = typing.get_type_hints(annotation)
            required = [f.name for f in fields if _default(f) is dataclasses.MISSING]
            return typing.cast(Any, annotation)(**{name: self.blank(hints[name]) for name in required})
        if typing.get_origin(annotation) is tuple:
            return ()
        return 0.0 if annotation in (int, float) else ""

    def value(self, annotation: Any, value: Any, path: Path, default: Any = dataclasses.MISSING) -> Any:
        """The value read as `annotation`; the default, or else a blank, when it is something else."""
        fallback = self.blank(annotation) if default is dataclasses.MISSING else default
        options = [option for option in _options(annotation) if option is not type(None)]
        if len(options) > 1:
            fitting = [option for option in options if _looks_like(value, option)]
            options = fitting[:1]
        if not options or not _looks_like(value, options[0]):
            hint = quoted_number(value) if {int, float} & set(_options(annotation)) else ""
            advice = _choice_advice(value, annotation)
            self.wrong(path, f"found {_found(value)}, expected {_expected(annotation)}{advice}", hint)
            return fallback
        wanted = options[0]
        if dataclasses.is_dataclass(wanted):
            return self.block(wanted, value, path)
        inner = typing.get_args(wanted)
        if typing.get_origin(wanted) is tuple:
            if inner[0] is RewardUse:
                uses = [self.reward(item, (*path, i)) for i, item in enumerate(value)]
                return tuple(use for use in uses if use is not None)
            return tuple(self.value(inner[0], item, (*path, i)) for i, item in enumerate(value))
        if isinstance(wanted, type) or typing.get_origin(wanted) is Literal:
            return value
        if inner[1] is Any:
            return dict(value)
        return {key: self.entry(inner[1], key, item, (*path, key)) for key, item in value.items()}

    def entry(self, annotation: Any, key: str, value: Any, path: Path) -> Any:
        """An entry of a mapping of blocks; a null block has all its defaults."""
        if dataclasses.is_dataclass(annotation):
            if annotation is Task and key in DEFAULT_TASKS and isinstance(value, Mapping):
                value = dataclasses.asdict(DEFAULT_TASKS[key]) | dict(value)
            return self.block(annotation, {} if value is None else value, path)
        return self.value(annotation, value, path)

    def reward(self, value: Any, path: Path) -> RewardUse | None:
        """One reward: a name alone, or `name: {weight, options}`."""
        if isinstance(value, str):
            return RewardUse(value)
        if not isinstance(value, Mapping) or len(value) != 1:
            hint = "write it as `- NAME` or as `- NAME: {weight: 1.0, OPTION: ...}`"
            if isinstance(value, Mapping) and value:
                hint += "; indent the options below the name, and start each reward with its own dash"
            self.wrong(path, f"found {_found(value)}, expected one reward", hint)
            return None
        [(name, given)] = value.items()
        if given is not None and not isinstance(given, Mapping):
            hint = f"write {name}: {{weight: {given}}}" if _looks_like(given, float) else ""
            self.wrong(
                (*path, name), f"found {_found(given)}, expected a mapping of weight and options", hint
            )
            return None
        given = dict(given or {})
        given_name = given.pop("name", None)
        if given_name is not None:
            self.wrong(
                (*path, name, "name"), "unknown option 'name'; the reward's name stands before the colon"
            )
        use: RewardUse = self.block(RewardUse, {"name": name} | given, (*path, name))
        return use


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _looks_like(value: Any, annotation: Any) -> bool:
    """Whether the outermost layer of the value is of this type."""
    if dataclasses.is_dataclass(annotation):
        return True  # `block` speaks for itself
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return value in typing.get_args(annotation)
    if origin is tuple:
        return isinstance(value, list)
    if origin is not None:
        return isinstance(value, Mapping)
    if annotation in (int, float):
        numbers = (int,) if annotation is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    return isinstance(value, annotation)


def _choice_advice(value: Any, annotation: Any) -> str:
    choices = [c for o in _options(annotation) if typing.get_origin(o) is Literal for c in typing.get_args(o)]
    advice = nearest(value, choices) if choices and isinstance(value, str) else ""
    return f"; {advice}" if advice.startswith("did you mean") else ""


_WORDS: Mapping[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _expected(annotation: Any) -> str:
    """A type of the schema in the words of a reader of YAML."""
    words = []
    for option in _options(annotation):
        origin = typing.get_origin(option)
        if origin is Literal:
            words.append("one of " + ", ".join(repr(choice) for choice in typing.get_args(option)))
        elif origin is tuple:
            inner = typing.get_args(option)[0]
            words.append("a list" if dataclasses.is_dataclass(inner) else f"a list of {_WORDS[inner]}")
        elif origin is not None or dataclasses.is_dataclass(option):
            words.append("a mapping")
        elif option is not type(None):
            words.append(_WORDS[option])
    return " or ".join(words)


def _found(value: Any) -> str:
    """A value as it looks in YAML, cut when it is long."""
    words = {True: "true", False: "false", None: "null"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

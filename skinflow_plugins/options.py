"""Options of a plug-in are the keyword-only parameters of its function.

Signature, recipe schema and help therefore cannot disagree. Checks here are on plain Python values as they
come out of YAML.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.errors import nearest

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword-only parameter: its name, type annotation and default (`REQUIRED` when it has none)."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def __str__(self) -> str:
        kind = getattr(self.annotation, "__name__", None)
        shown = kind if kind and not typing.get_args(self.annotation) else str(self.annotation)
        shown = shown.replace("collections.abc.", "").replace("typing.", "")
        return f"{self.name}: {shown}" + ("" if self.required else f" = {self.default!r}")


def options_of(function: Callable[..., Any]) -> tuple[Option, ...]:
    """The keyword-only parameters of `function`, in order.

    Raises `TypeError` when one of them carries no annotation: an option without a type cannot be checked.
    """
    hints = typing.get_type_hints(function)
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if parameter.name not in hints:
            name = getattr(function, "__qualname__", function)
            raise TypeError(f"{name}: option {parameter.name!r} needs a type annotation")
        found.append(Option(parameter.name, hints[parameter.name], parameter.default))
    return tuple(found)


def check_options(options: Iterable[Option], given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every mistake in `given` as (option name, what is wrong); an empty list when there is none."""
    known = {option.name: option for option in options}
    problems = [
        (name, f"unknown option {name!r}; {nearest(name, known)}") for name in given if name not in known
    ]
    for name, option in known.items():
        if name not in given:
            if option.required:
                problems.append((name, f"option {name!r} is required ({option})"))
        elif not fits(given[name], option.annotation):
            problems.append((name, f"{given[name]!r} does not fit `{option}`"))
    return problems


def fits(value: Any, annotation: Any) -> bool:
    """Whether a YAML value fits a type annotation; an integer fits float, a list fits any Sequence."""
    if annotation is Any:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, a) for a in arguments)
    if origin is typing.Literal:
        return value in arguments
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is Path:
        return isinstance(value, (str, Path))
    if origin is not None and isinstance(origin, type):
        if issubclass(origin, Mapping):
            return isinstance(value, Mapping) and all(
                fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items()
            )
        if issubclass(origin, Sequence):
            return isinstance(value, (list, tuple)) and all(fits(v, arguments[0]) for v in value)
    return isinstance(value, annotation) if isinstance(annotation, type) else True

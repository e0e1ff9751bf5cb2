"""A judge from the settings of a recipe: every mistake at once, and the defaults of a training run."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from skinflow_plugins.errors import InputError, Problem, nearest
from skinflow_plugins.judging.settings import OFF, Judge
from skinflow_plugins.options import fits

TRAINING: Mapping[str, Any] = {"runs": 1, "timeout": 20.0, "deadline": 60.0, "concurrency": 64}
"""What a judge in training has where nothing is said: a step waits for its answers."""

_NEEDED = {"endpoint": "http://127.0.0.1:8000/v1", "model": "judge"}
_KEY_HINT = "a key does not belong here: name the environment variable that holds it, as key_variable"
_WORDS = {int: "a whole number", float: "a number", str: "a text"}


def judge_from(settings: Judge | Mapping[str, Any], *, check_key: bool = True) -> Judge:
    """The judge of a mapping as a recipe has it; a `Judge` is given back as it is.

    Without `check_key` the variable of the key need not be set on this machine. Raises `InputError` with all
    mistakes; the path of each is the name of its setting.
    """
    if isinstance(settings, Judge):
        return settings
    if not isinstance(settings, Mapping):
        found = type(settings).__name__
        raise InputError(Problem(f"found {found}; expected the settings of a judge, endpoint and model"))
    try:
        text = json.dumps(settings, sort_keys=True, default=_plain)
    except (TypeError, ValueError):
        return _made(dict(settings), check_key)
    return _known(text, check_key)


def _plain(value: object) -> Any:
    """OmegaConf's mappings and paths as JSON knows them."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError


@functools.lru_cache(maxsize=32)
def _known(text: str, check_key: bool) -> Judge:
    # A reward asks this for every row; only what was right is remembered.
    return _made(json.loads(text), check_key)


def _made(given: dict[str, Any], check_key: bool) -> Judge:
    hints = get_type_hints(Judge)
    known = [field.name for field in fields(Judge)]
    problems = []
    right = dict(TRAINING)
    for name, value in given.items():
        if name == "cache" and value is False:
            value = OFF  # YAML reads the word off as false
        if name not in known:
            message = f"unknown setting {name!r}; {nearest(str(name), known)}"
            problems.append(Problem(message, path=str(name), hint=_KEY_HINT if "key" in str(name) else ""))
        elif not fits(value, hints[name]):
            # Somebody may have given the key itself.
            shown = type(value).__name__ if name == "key_variable" else repr(value)
            problems.append(Problem(f"found {shown}; expected {_expected(hints[name])}", path=name))
        else:
            right[name] = value
    for name, stand_in in _NEEDED.items():
        if name not in given:
            problems.append(Problem(f"{name!r} is required", path=name, hint=f"such as {stand_in}"))
        right.setdefault(name, stand_in)
    try:
        made = Judge(**right, check_key=check_key)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    if problems:
        raise InputError(problems)
    return made


def _expected(hint: Any) -> str:
    kinds = getattr(hint, "__args__", (hint,))
    words = [_WORDS[kind] for kind in kinds if kind in _WORDS]
    return " or ".join([*words, *(["nothing"] if type(None) in kinds else [])])

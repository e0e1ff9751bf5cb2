"""How a judge is asked: a versioned file of text, and the question with untrusted texts walled in."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from skinflow_plugins.errors import InputError, Problem, nearest

PROMPTS = Path(__file__).parent / "prompts"
RANKED, RECOVER, DESCRIBE = ("data", "count"), ("data", "most"), ("fields", "data")
"""The places of the built-in questions: what tells a prompt for one of them from a prompt for another."""

_KEYS = ("version", "system", "user", "places")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLACE = re.compile(r"\{\{([^{}\s]*)\}\}")
# What could close the block of data, open another turn of the chat, or pass for our own JSON.
_TELLING = re.compile(r"[<>\[\]{}|&`~]")

_quoted = json.encoder.encode_basestring_ascii  # `json.dumps` of a text, without looking for what it is


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text of the two messages, and what a report names it by: name, version and hash of the file.

    `places` are the names in double braces that stand once each in `user`, to be filled in for a question.
    """

    name: str
    version: str
    sha256: str
    system: str = field(repr=False)
    user: str = field(repr=False)
    places: tuple[str, ...] = RANKED

    def messages(self, truth: str, items: Sequence[str]) -> list[dict[str, Any]]:
        """The chat that asks for a verdict on each item; texts of others occur in the block of data alone."""
        return self.filled({"data": data_block(truth, items), "count": str(len(items))})

    def filled(self, places: Mapping[str, str]) -> list[dict[str, Any]]:
        """The chat with a text at every place. Texts that we did not write belong into `walled` first.

        Raises `ValueError` when the places are not those of this prompt.
        """
        if set(places) != set(self.places):
            raise ValueError(
                f"prompt {self.name}: found the places {sorted(places)}; expected {sorted(self.places)}"
            )
        # In one pass, so that nothing is replaced in what was filled in.
        user = _PLACE.sub(lambda found: places.get(found[1], found[0]), self.user)
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]


def data_block(truth: str, items: Sequence[str]) -> str:
    """Reference and items as one line of JSON, ASCII only; all brackets within the texts are escaped."""
    listed = [f'{{"item": {rank}, "text": {walled(text)}}}' for rank, text in enumerate(items, start=1)]
    return f'{{"reference": {walled(truth)}, "listed": [{", ".join(listed)}]}}'


def walled(value: object) -> str:
    """A plain value as one line of JSON, ASCII only, in which no text holds a bracket or a line's end.

    Strings, keys among them, are written with escapes for angle brackets, brackets, braces, bars,
    ampersands, backticks and tildes; read as JSON they are what they were. So nothing in them can close a
    tag, open a turn of a chat or a fence, or stand for the JSON around it. Raises `TypeError` for what is no
    plain value.
    """
    if isinstance(value, str):
        return _TELLING.sub(_escaped, _quoted(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join([f"{walled(str(key))}: {walled(each)}" for key, each in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join([walled(each) for each in value]) + "]"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    raise TypeError(f"found {type(value).__name__}; expected texts, numbers, lists and mappings of them")


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def builtin_prompts() -> dict[str, Path]:
    """The files of the built-in prompts by name."""
    return dict(_builtin())


@functools.cache
def _builtin() -> dict[str, Path]:
    # A reward loads its prompt for every answer, and listing a folder takes longer than a kept answer may.
    return {path.stem: path for path in sorted(PROMPTS.glob("*.yaml"))}


def load_prompt(name_or_path: str | Path, places: Sequence[str] = RANKED) -> Prompt:
    """The prompt of a built-in name or of a YAML file, for a question that fills in these places.

    The file has the keys `version`, `system`, `user` and `places` (default: those of a ranked list, data and
    count). Each place must stand once in `user`, as `{{name}}`, and no other. A file that has not changed is
    read once. Raises `InputError` with all mistakes, also when the prompt is one for another question.
    """
    builtin = _builtin()
    path = builtin.get(str(name_or_path), Path(name_or_path))
    if path.suffix not in (".yaml", ".yml"):
        message = f"unknown prompt {str(name_or_path)!r}; {nearest(str(name_or_path), builtin)}"
        raise InputError(Problem(message, hint="give a built-in name, or the path of a YAML file"))
    try:
        state = path.stat()
        prompt = _read(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path))) from error
    if set(prompt.places) != set(places):
        message = f"found a prompt with the places {_named(prompt.places)}; expected {_named(places)}"
        fitting = [name for name, file in builtin.items() if set(_places_of(file)) == set(places)]
        hint = f"the built-in prompt for this question: {', '.join(fitting)}" if fitting else ""
        raise InputError(Problem(message, str(path), hint=hint))
    return prompt


@functools.lru_cache(maxsize=64)
def _read(path: Path, modified: int, size: int) -> Prompt:
    raw = path.read_bytes()
    try:
        found = yaml.safe_load(raw.decode("utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(Problem(f"is no YAML in UTF-8: {error}", str(path))) from error
    if not isinstance(found, dict):
        raise InputError(Problem(f"expected the keys {', '.join(_KEYS)}", str(path)))
    problems = [
        Problem(f"unknown key {key!r}; {nearest(str(key), _KEYS)}", str(path))
        for key in found
        if key not in _KEYS
    ]
    for key in ("version", "system", "user"):
        if not isinstance(found.get(key), str) or not found[key].strip():
            problems.append(Problem(f"expected a text under {key!r}", str(path)))
    places = found.get("places", list(RANKED))
    if not isinstance(places, list) or not all(
        isinstance(name, str) and _NAME.fullmatch(name) for name in places
    ):
        message = "expected a list of names under 'places'"
        problems.append(Problem(message, str(path), hint="such as [data, count]"))
    elif not problems:
        problems += _place_problems(path, found["user"], list(dict.fromkeys(places)))
    if problems:
        raise InputError(problems)
    digest = hashlib.sha256(raw).hexdigest()
    texts = found["system"].strip(), found["user"].strip()
    return Prompt(path.stem, found["version"], digest, *texts, tuple(dict.fromkeys(places)))


def _place_problems(path: Path, user: str, places: Sequence[str]) -> list[Problem]:
    standing = _PLACE.findall(user)
    problems = []
    if missing := [name for name in places if standing.count(name) != 1]:
        message = f"expected {_named(missing)} once in 'user'"
        problems.append(Problem(message, str(path), hint="the data of a question is put there"))
    for name in dict.fromkeys(standing):
        if name not in places:
            message = f"found {_named([name])} in 'user', which is not among its places"
            problems.append(Problem(message, str(path), hint=nearest(name, places)))
    return problems


def _places_of(path: Path) -> tuple[str, ...]:
    state = path.stat()
    return _read(path, state.st_mtime_ns, state.st_size).places


def _named(places: Sequence[str]) -> str:
    return " and ".join(f"{{{{{name}}}}}" for name in places) or "none"

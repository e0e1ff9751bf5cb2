"""How a judge is asked: a versioned file of text, and the question with the untrusted answer walled in."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from skinflow_plugins.errors import InputError, Problem, nearest

PROMPTS = Path(__file__).parent / "prompts"
_KEYS = ("version", "system", "user")
_PLACES = ("{{data}}", "{{count}}")
# What could close the block of data, open another turn of the chat, or pass for our own JSON.
_TELLING = re.compile(r"[<>\[\]{}|&`]")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text of the two messages, and what a report names it by: name, version and hash of the file."""

    name: str
    version: str
    sha256: str
    system: str = field(repr=False)
    user: str = field(repr=False)

    def messages(self, truth: str, items: Sequence[str]) -> list[dict[str, str]]:
        """The chat that asks for a verdict on each item; texts of others occur in the block of data alone."""
        user = self.user.replace("{{count}}", str(len(items)))
        user = user.replace(
            "{{data}}", data_block(truth, items)
        )  # last, so that nothing is replaced in the data
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]


def data_block(truth: str, items: Sequence[str]) -> str:
    """Reference and items as one line of JSON, ASCII only; all brackets within the texts are escaped."""
    listed = ", ".join(
        f'{{"item": {rank}, "text": {_quoted(text)}}}' for rank, text in enumerate(items, start=1)
    )
    return f'{{"reference": {_quoted(truth)}, "listed": [{listed}]}}'


def _quoted(text: str) -> str:
    return _TELLING.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text))


def builtin_prompts() -> dict[str, Path]:
    """The files of the built-in prompts by name."""
    return {path.stem: path for path in sorted(PROMPTS.glob("*.yaml"))}


def load_prompt(name_or_path: str | Path) -> Prompt:
    """The prompt of a built-in name or of a YAML file with the keys version, system and user.

    Raises `InputError` with all mistakes.
    """
    builtin = builtin_prompts()
    path = builtin.get(str(name_or_path), Path(name_or_path))
    if path.suffix not in (".yaml", ".yml"):
        message = f"unknown prompt {str(name_or_path)!r}; {nearest(str(name_or_path), builtin)}"
        raise InputError(Problem(message, hint="give a built-in name, or the path of a YAML file"))
    try:
        raw = path.read_bytes()
        found = yaml.safe_load(raw.decode("utf-8"))
    except OSError as error:
        raise InputError(Problem(f"cannot be read: {error.strerror}", str(path))) from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(Problem(f"is no YAML in UTF-8: {error}", str(path))) from error
    if not isinstance(found, dict):
        raise InputError(Problem(f"expected the keys {', '.join(_KEYS)}", str(path)))
    problems = [
        Problem(f"unknown key {key!r}; {nearest(str(key), _KEYS)}", str(path))
        for key in found
        if key not in _KEYS
    ]
    for key in _KEYS:
        if not isinstance(found.get(key), str) or not found[key].strip():
            problems.append(Problem(f"expected a text under {key!r}", str(path)))
    if not problems and (missing := [place for place in _PLACES if found["user"].count(place) != 1]):
        message = f"expected {' and '.join(missing)} once in 'user'"
        problems.append(Problem(message, str(path), hint="the data of a question is put there"))
    if problems:
        raise InputError(problems)
    digest = hashlib.sha256(raw).hexdigest()
    return Prompt(path.stem, found["version"], digest, found["system"].strip(), found["user"].strip())

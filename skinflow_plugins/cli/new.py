"""`skinflow new reward NAME DIR`: an installable package with one reward, whose own test passes at once."""

from __future__ import annotations

import argparse
import builtins
import importlib.util
import keyword
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.errors import InputError, Problem

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs

DESCRIPTION = """\
Writes a package of its own with pyproject.toml, the reward as a plain function, its contract test and a
README. After `pip install -e DIR` recipes can name the reward."""

# Template -> where it goes; `$name` is filled in there too.
FILES = {
    "pyproject.toml.template": "pyproject.toml",
    "module.py.template": "src/skinflow_$name.py",
    "test.py.template": "tests/test_$name.py",
    "README.md.template": "README.md",
}
TAKEN = frozenset({"reward", "hookimpl", "skinflow_rewards", "answer", "sample"})
"""Names that mean something else in the module that is written."""


def add(verbs: Verbs) -> None:
    """Add `new reward` to the verbs."""
    new = add_verb(verbs, "new", "write the package of a plug-in of your own", None)
    inner = new.add_subparsers(dest="inner", metavar="VERB", required=True)
    parser = add_verb(inner, "reward", "write an installable package with one reward", do, DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="of the reward, for example asks_for_biopsy")
    parser.add_argument("folder", metavar="DIR", type=Path, help="a folder that is empty or does not exist")


def do(arguments: argparse.Namespace) -> int:
    """Write the package; an `InputError` when the name or the folder will not do."""
    name, folder = arguments.name, arguments.folder
    problems = [*_name_problems(name), *_folder_problems(folder)]
    if problems:
        raise InputError(problems)
    for template, target in FILES.items():
        text = (files("skinflow_plugins.cli") / "templates" / "reward" / template).read_text(encoding="utf-8")
        path = folder / _filled(target, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(text, name), encoding="utf-8")
        except OSError as error:
            raise InputError(Problem(f"cannot be written: {error.strerror}", str(path))) from error
        print(f"wrote {path}")
    where = shlex.quote(str(folder))
    print(f"\nNext:\n  pip install -e {where}\n  python -m pytest {where}\n  skinflow show {name}")
    return 0


def _filled(text: str, name: str) -> str:
    return Template(text).substitute(name=name, dashed=name.replace("_", "-"))


def _name_problems(name: str) -> Iterator[Problem]:
    from skinflow_plugins.catalogue import catalogue

    plain = re.sub(r"\W+", "_", name.strip(), flags=re.ASCII).strip("_").lower()
    plain = re.sub(r"^[\d_]+", "", plain)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        hint = f"use lower-case letters, digits and underscores: {plain or 'my_reward'}"
        yield Problem(f"{name!r} cannot name a reward", hint=hint)
    elif (entry := catalogue().table("rewards").get(name)) is not None:
        yield Problem(
            f"there is a reward {name!r} already, from {entry.owner}",
            hint=f"choose another name, or look at it: skinflow show {name}",
        )
    elif keyword.iskeyword(name) or hasattr(builtins, name) or name in TAKEN:
        yield Problem(
            f"{name!r} cannot name a reward: it means something else in the module that would hold it",
            hint=f"for example {name}_reward",
        )
    elif importlib.util.find_spec(f"skinflow_{name}") is not None:
        yield Problem(
            f"the package would be called skinflow_{name}, and there is one of that name already",
            hint=f"for example {name}_reward",
        )


def _folder_problems(folder: Path) -> Iterator[Problem]:
    if folder.is_dir() and any(folder.iterdir()):
        yield Problem(
            "the folder is not empty", where=str(folder), hint="choose another; nothing was written"
        )
    elif folder.exists() and not folder.is_dir():
        yield Problem("is a file, not a folder", where=str(folder), hint="choose another")
    else:
        above = folder.absolute()
        while not above.exists():
            above = above.parent
        if not above.is_dir():
            yield Problem("is a file, not a folder", where=str(above), hint="choose another place")

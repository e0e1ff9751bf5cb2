"""`skinflow judge cache list|prune|clear`: look after the kept answers of judges."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from pathlib import Path

    from skinflow_plugins.cli.parser import Parser, Verbs

DESCRIPTION = """\
Answers of judges are kept in $SKINFLOW_CACHE/judge.sqlite3, or else in ~/.cache/skinflow/judge.sqlite3
($XDG_CACHE_HOME is honoured), unless a judge names another file; give that file with --file. No question and
no key is in there, only the hash of each question and the reply to it."""
PRUNE = """\
Removes the answers that --older-than or --model names; both together, those that both name. With --max-mb,
then those that were not used for longest, until the file is small enough (with --model, of that model alone).
At least one of the three is needed."""


def add(verbs: Verbs) -> None:
    """Add `judge cache` and its verbs to those of `judge`."""
    cache = add_verb(verbs, "cache", "look after the kept answers of judges", None, DESCRIPTION)
    inner = cache.add_subparsers(dest="cache_verb", metavar="VERB", required=True)
    parser = add_verb(inner, "list", "how many answers are kept, by model and prompt", listed)
    _add_file(parser)
    parser = add_verb(inner, "prune", "remove old answers, or those of one model", pruned, PRUNE)
    _add_file(parser)
    parser.add_argument(
        "--older-than", type=float, metavar="DAYS", help="answers that were not used for so many days"
    )
    parser.add_argument("--model", metavar="NAME", help="answers of this model")
    parser.add_argument(
        "--max-mb", type=float, metavar="N", help="as many as have to go until the file has N megabytes"
    )
    parser = add_verb(inner, "clear", "remove all answers", cleared)
    _add_file(parser)
    parser.add_argument("--yes", action="store_true", help="really remove them; without it nothing is done")


def listed(arguments: argparse.Namespace) -> int:
    """Print path, size and what is kept by model and prompt, then 0."""
    from skinflow_plugins.cli.table import columns
    from skinflow_plugins.judging.cache_upkeep import contents

    found = contents(_path(arguments))
    print(f"{found.path}: {_answers(found.entries)}, {_megabytes(found.size)}")
    if found.entries:
        rows: list[tuple[str, ...]] = [
            ("model", "prompt", "answers", "characters", "oldest", "newest", "last used")
        ]
        rows += [
            (
                group.model,
                group.prompt,
                str(group.entries),
                str(group.characters),
                *(_day(when) for when in (group.oldest, group.newest, group.used)),
            )
            for group in found.groups
        ]
        print()
        print(columns(rows))
    return 0


def pruned(arguments: argparse.Namespace) -> int:
    """Remove what was asked for and print how much, then 0; an `InputError` for a wrong number or model."""
    from skinflow_plugins.errors import InputError, Problem
    from skinflow_plugins.judging.cache_upkeep import contents, prune

    limits = {"--older-than": arguments.older_than, "--max-mb": arguments.max_mb}
    problems = [
        Problem(f"found {value}; expected 0 or more", path=name)
        for name, value in limits.items()
        if value is not None and not 0 <= value < float("inf")
    ]
    if problems:
        raise InputError(problems)
    if arguments.model is None and all(value is None for value in limits.values()):
        message = "nothing says which answers are to go"
        raise InputError(Problem(message, hint="give --older-than DAYS, --model NAME or --max-mb N"))
    path = _path(arguments)
    removed = prune(path, older_than=arguments.older_than, model=arguments.model, max_mb=arguments.max_mb)
    left = contents(path)
    print(f"{path}: {_answers(removed)} removed; {_answers(left.entries)} left, {_megabytes(left.size)}")
    return 0


def cleared(arguments: argparse.Namespace) -> int:
    """Remove everything and print how much, then 0; an `InputError` without `--yes`."""
    from skinflow_plugins.errors import InputError, Problem
    from skinflow_plugins.judging.cache_upkeep import clear

    path = _path(arguments)
    if not arguments.yes:
        message = "all kept answers would be removed, and have to be paid for again; nothing was done"
        raise InputError(Problem(message, str(path), hint="say so with --yes"))
    print(f"{path}: {_answers(clear(path))} removed")
    return 0


def _add_file(parser: Parser) -> None:
    from pathlib import Path

    parser.add_argument("--file", type=Path, metavar="FILE", help="the file, where a judge names its own")


def _path(arguments: argparse.Namespace) -> Path:
    from skinflow_plugins.judging.cache_path import cache_path

    path = cache_path(str(arguments.file) if arguments.file is not None else None)
    if path is None:
        from skinflow_plugins.errors import InputError, Problem

        raise InputError(Problem('"off" is no file of answers', path="--file"))
    return path


def _answers(number: int) -> str:
    return f"{number} answer" + "s" * (number != 1)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _day(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")

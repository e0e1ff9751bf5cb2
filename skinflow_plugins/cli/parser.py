"""The verbs and their arguments: argparse, with the nearest known name for whatever it does not know."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from skinflow_plugins.errors import nearest

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction["Parser"]

Do = Callable[[argparse.Namespace], int]

ABOUT = (
    "Staged rewards, recipes and a dynamic vision encoder for dermatology, on ms-swift. For research only."
)
CLOSING = "Exit codes: 0 done, 1 the work failed, 2 the input was wrong. `skinflow VERB --help` tells more."


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and helps with misspellings."""

    def __init__(self, **keywords: Any) -> None:
        keywords.setdefault("allow_abbrev", False)
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**keywords)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}\n    see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = (action.metavar if isinstance(action.metavar, str) else action.dest).lower()
            self.error(f"unknown {what} {value!r}; {nearest(str(value), map(str, action.choices))}")


def build() -> Parser:
    """The parser with every verb."""
    from skinflow_plugins.cli import (
        data_check,
        demo,
        doctor,
        eval,
        graft,
        judge,
        listing,
        new,
        plan,
        plugin,
        report,
        rollout,
        run,
        score,
        serve,
        show,
        validate,
    )

    parser = Parser(prog="skinflow", description=ABOUT, epilog=CLOSING)
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for module in (
        demo,
        run,
        rollout,
        validate,
        plan,
        score,
        eval,
        report,
        serve,
        listing,
        show,
        doctor,
        data_check,
        judge,
        graft,
        new,
        plugin,
    ):
        module.add(verbs)
    return parser


def verbs() -> list[str]:
    """Every verb, in the order of the help."""
    for action in build()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices)
    raise LookupError("the parser has no verbs")


def add_verb(verbs: Verbs, name: str, summary: str, do: Do | None, description: str = "") -> Parser:
    """A new verb; `summary` is its line in the list of verbs, `description` what its own help adds."""
    text = f"{summary[0].upper()}{summary[1:]}." + (f"\n\n{description}" if description else "")
    parser: Parser = verbs.add_parser(name, help=summary, description=text)
    parser.set_defaults(parser=parser)
    if do is not None:
        parser.set_defaults(do=do)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line; `SystemExit` after a message or a help text."""
    parser = build()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.version:
        from importlib.metadata import version

        print(version("skinflow-plugins"))
        raise SystemExit(0)
    used: Parser = getattr(arguments, "parser", parser)
    flags = [word for word in rest if word.startswith("-")]
    if flags:
        name = flags[0].partition("=")[0]
        used.error(f"unknown option {name!r}; {nearest(name, used._option_string_actions)}")
    # argparse gives up on arguments behind an option: `run RECIPE -o DIR seed=1`, `show dve -o DIR FOLDER`.
    if rest and hasattr(arguments, "overrides"):
        arguments.overrides = [*arguments.overrides, *rest]
    elif rest and hasattr(arguments, "rest"):
        arguments.rest = rest
    elif rest:
        used.error(f"too many arguments: {' '.join(rest)}")
    if not hasattr(arguments, "do"):
        used.print_help(sys.stderr)
        raise SystemExit(2)
    return arguments

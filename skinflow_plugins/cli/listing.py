"""`skinflow list`: everything that a recipe can name, who brought it, and every plug-in with its state."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.cli.parser import Verbs

NAMED = (
    "rewards",
    "metrics",
    "datasets",
    "base_models",
    "vision_encoders",
    "projections",
    "taxonomies",
    "recipes",
)
KINDS = (*NAMED, "plugins")
DESCRIPTION = """\
Kinds: rewards, metrics, datasets, base_models, vision_encoders, projections, taxonomies, recipes, plugins.
Without a kind: the names of all. `skinflow show NAME` tells more about one."""


def add(verbs: Verbs) -> None:
    """Add `list` to the verbs."""
    parser = add_verb(verbs, "list", "list what a recipe can name, and the plug-ins", do, DESCRIPTION)
    parser.add_argument(
        "kind", metavar="KIND", nargs="?", choices=KINDS, help="list one kind, a line for each"
    )


def do(arguments: argparse.Namespace) -> int:
    """Print one kind, or the names of all."""
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.known import things
    from skinflow_plugins.cli.table import columns

    known = catalogue()
    if arguments.kind == "plugins":
        print("\n".join(plugins(known)))
    elif arguments.kind:
        rows = [(thing.name, thing.owner, thing.summary) for thing in things(known, arguments.kind)]
        print(columns(rows) if rows else f"no {arguments.kind.replace('_', ' ')} yet")
    else:
        print(overview(known))
    return 0


def overview(known: Catalogue) -> str:
    """One line for each kind that has anything, and one for the plug-ins."""
    from skinflow_plugins.cli.known import names
    from skinflow_plugins.cli.table import columns

    rows = [(kind, ", ".join(found)) for kind in NAMED if (found := names(known, kind))]
    states = [f"{each.owner}:{each.name}" + (" (BROKEN)" if each.reason else "") for each in known.plugins]
    rows.append(("plugins", ", ".join(states)))
    return (
        columns(rows)
        + "\n\n`skinflow list KIND` tells what each is, `skinflow show NAME` everything about one"
    )


def plugins(known: Catalogue) -> list[str]:
    """A line for each plug-in; broken ones with their reason below."""
    from skinflow_plugins.cli.table import columns

    rows = [(each.name, each.owner, each.target, "BROKEN" if each.reason else "ok") for each in known.plugins]
    lines = []
    for line, each in zip(columns(rows).splitlines(), known.plugins, strict=True):
        lines.append(line)
        if each.reason:
            lines.append(f"    {each.reason}")
    return lines

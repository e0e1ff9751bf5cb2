"""`skinflow graft`: a checkpoint with the dynamic vision encoder out of a base, and what was changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.catalogue import Catalogue
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.models import BaseFamily, GraftReport

DESCRIPTION = """\
OUT computes what BASE does, until its routers are trained; `model.base: OUT` is not needed for that, because
`skinflow run` grafts by itself where a recipe says `model.vision.encoder: dve`. The base's weights are
linked, not copied, unless --link says so. The options are those of `skinflow show dve`."""


def add(verbs: Verbs) -> None:
    """Add `graft` to the verbs."""
    parser = add_verb(
        verbs, "graft", "give a base model the dynamic vision encoder, in a new folder", do, DESCRIPTION
    )
    parser.add_argument("base", metavar="BASE", help="a checkpoint folder or a hub id")
    parser.add_argument("out", metavar="OUT", type=Path, help="the new folder")
    parser.add_argument(
        "--layers",
        metavar="WHICH",
        type=_layers,
        default="full_attention",
        help="blocks whose MLPs become image-dependent: full_attention, quarters (where the paper has them), "
        "or numbers from 0 such as 7,15,23,31 (default: %(default)s)",
    )
    parser.add_argument(
        "--projections",
        metavar="WHICH",
        type=_projections,
        default="all",
        help="all, or some of gate,up,down (default: %(default)s)",
    )
    parser.add_argument(
        "--bands",
        metavar="K",
        type=int,
        default=4,
        help="frequency bands of a weight (default: %(default)s)",
    )
    parser.add_argument(
        "--gates",
        metavar="WHICH",
        type=_names,
        default=("input", "output", "band"),
        help="what an image may scale: band, and any of input,output (default: input,output,band)",
    )
    parser.add_argument(
        "--router",
        metavar="KIND",
        choices=("projection", "block"),
        default="projection",
        help="a router for each projection, or one for each block (default: %(default)s)",
    )
    parser.add_argument(
        "--reduction",
        metavar="N",
        type=int,
        default=16,
        help="how much narrower a router's hidden layer is (default: %(default)s)",
    )
    parser.add_argument(
        "--frozen-bases",
        action="store_true",
        help="keep the bands of the base's weights for good; without it they follow the weights",
    )
    parser.add_argument(
        "--link",
        metavar="KIND",
        choices=("symlink", "hardlink", "copy"),
        default="symlink",
        help="how OUT holds the base's weights: symlink, hardlink or copy (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the routers' first layers (default: %(default)s)"
    )
    parser.add_argument(
        "--family",
        metavar="NAME",
        help="the base's family, as in `skinflow list base_models` (default: the one that its config tells)",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _projections(text: str) -> str | tuple[str, ...]:
    return text if text == "all" else _names(text)


def _layers(text: str) -> str | tuple[int, ...]:
    """Numbers, or the text as it is: what the word means, and whether it is one, only the base can tell."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        return text


def do(arguments: argparse.Namespace) -> int:
    """Graft, and print what was changed."""
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.quiet import hush

    family = family_for(arguments.base, arguments.family, catalogue())
    hush(arguments.out)
    from skinflow_plugins.models import graft

    show(
        graft(
            arguments.base,
            arguments.out,
            layers=arguments.layers,
            projections=arguments.projections,
            bands=arguments.bands,
            gates=arguments.gates,
            router=arguments.router,
            reduction=arguments.reduction,
            frozen_bases=arguments.frozen_bases,
            link=arguments.link,
            seed=arguments.seed,
            family=family,
        )
    )
    return 0


def family_for(base: str, named: str | None, known: Catalogue) -> BaseFamily | None:
    """The family of this name, or the one that the base's config tells, third parties' too; None if none.

    Raises `InputError` for an unknown name, and for a base that is not there.
    """
    from skinflow_plugins.errors import InputError, Problem
    from skinflow_plugins.models.base_folder import base_folder
    from skinflow_plugins.models.families import family_of

    problems: list[Problem] = []
    found = None
    try:
        found = known.get("base_models", named) if named is not None else None
    except InputError as error:
        problems += error.problems
    try:
        folder = base_folder(base)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    return found or family_of(folder, [entry.value for entry in known.table("base_models").values()])


def show(report: GraftReport) -> None:
    """Print the report: a table on a terminal, aligned columns in a pipe."""
    from skinflow_plugins.cli import table

    heads, cells = report.table()
    if sys.stdout.isatty():
        table.show(f"{report.family}: {report.base}", heads, cells)
    else:
        rows: list[Sequence[str]] = [heads, *cells]
        print(table.columns(rows))
    print()
    print(report.summary())

"""`skinflow score`: what the rewards of a recipe pay, tried without a model."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import add_recipe, read

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.cli.score_rows import Scores
    from skinflow_plugins.errors import Problem

DESCRIPTION = """\
Runs the rewards of every grpo stage, with their gates and their weights at the first step, on answers that
are there: on canned ones (good, near-miss, bad, empty, gaming and malformed, made from the recipe's own
training records), or on completions in a file. Prints what each reward pays, worse answers that score higher,
and the attacks that pay most, with the rewards' own words.

A file of completions has one of the formats of `skinflow eval`, and may answer a record several times.
Columns that it lacks come from the recipe's data, by id."""

LIMIT = 48


def add(verbs: Verbs) -> None:
    """Add `score` to the verbs."""
    parser = add_verb(verbs, "score", "try the rewards of a recipe without a model", do, DESCRIPTION)
    add_recipe(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--completions", metavar="FILE", type=Path, help="score the answers in this file")
    source.add_argument("--canned", action="store_true", help="score canned answers (what happens anyway)")
    parser.add_argument("--stage", metavar="NAME", help="only this stage")
    parser.add_argument(
        "--limit", metavar="N", type=int,
        help=f"records that are answered (default: {LIMIT} canned ones, all in a file)",
    )  # fmt: skip
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the choice (default: 0)")
    parser.add_argument(
        "--column", metavar="OURS=THEIRS", action="append", default=[],
        help="where the file names a column otherwise, such as answer=completion",
    )  # fmt: skip
    parser.add_argument("--no-judge", action="store_true", help="leave out the rewards that ask a judge")
    parser.add_argument(
        "--strict", action="store_true",
        help="exit with 1 when a worse canned answer scores higher, an attack reaches half, or a reward "
        "could not judge an answer",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="write every answer with its scores, as JSON Lines"
    )


def do(arguments: argparse.Namespace) -> int:
    """Score and print, stage by stage."""
    from skinflow_plugins.cli.score_canned import canned_text
    from skinflow_plugins.cli.score_completions import completions_text
    from skinflow_plugins.cli.score_file import completion_rows
    from skinflow_plugins.cli.score_plan import chosen_stages
    from skinflow_plugins.cli.score_rows import failures, score_stage, write_lines
    from skinflow_plugins.cli.score_samples import canned_rows

    _check(arguments)
    loaded, known = read(arguments)
    recipe = loaded.recipe
    stages = chosen_stages(recipe, known, arguments.stage, with_judge=not arguments.no_judge)
    scored: list[Scores] = []
    found = 0
    with tempfile.TemporaryDirectory(prefix="skinflow-score-") as folder:
        if arguments.completions is None:
            limit = LIMIT if arguments.limit is None else arguments.limit
            rows = canned_rows(recipe, known, stages, Path(folder), limit, arguments.seed)
        else:
            rows = completion_rows(
                recipe, known, stages, Path(folder), arguments.completions,
                columns=_pairs(arguments.column), limit=arguments.limit, seed=arguments.seed,
                named=arguments.stage is not None,
            )  # fmt: skip
        print("\n".join([f"{recipe.name}: {rows.origin}", *(f"==> {note}" for note in rows.notes)]))
        for stage in stages:
            print(flush=True)
            scores = score_stage(stage, rows.of[stage.name])
            scored.append(scores)
            if arguments.completions is None:
                text, problems = canned_text(scores)
                found += problems + sum(failures(each).total() for each in scores.judged.values())
            else:
                text = completions_text(scores)
            print(text)
    if arguments.output is not None:
        write_lines(arguments.output, scored)
        print(f"\n{arguments.output}: every answer with its scores")
    return 1 if arguments.strict and found else 0


def _check(arguments: argparse.Namespace) -> None:
    from skinflow_plugins.errors import InputError, Problem

    problems = []
    if arguments.limit is not None and arguments.limit < 1:
        problems.append(Problem(f"--limit {arguments.limit}; expected 1 or more"))
    if arguments.strict and arguments.completions is not None:
        problems.append(
            Problem("--strict judges canned answers: what in a file is worse than what, nobody knows")
        )
    if arguments.column and arguments.completions is None:
        problems.append(Problem("--column is about a file of --completions, and there is none"))
    if arguments.output is not None:
        problems += _output_problems(arguments.output, arguments.completions)
    problems += [
        Problem(f"--column {text!r}; expected OURS=THEIRS, such as answer=completion")
        for text in arguments.column
        if not (text.partition("=")[0] and text.partition("=")[2])
    ]
    if problems:
        raise InputError(problems)


def _output_problems(output: Path, completions: Path | None) -> Iterator[Problem]:
    """Why the file of -o cannot be written: better said before a judge is paid than afterwards."""
    from skinflow_plugins.errors import Problem

    if output.is_dir():
        yield Problem(f"-o {output} is a folder; expected a file")
    elif completions is not None and output.resolve() == completions.resolve():
        yield Problem(f"-o {output} is the file of completions; expected another one")
    else:
        folder = next(each for each in output.absolute().parents if each.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            yield Problem(f"-o {output} cannot be written: {folder} is no folder that takes files")


def _pairs(texts: list[str]) -> dict[str, str]:
    return {text.partition("=")[0]: text.partition("=")[2] for text in texts}

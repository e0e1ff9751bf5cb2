"""`skinflow report`: the page of a run, with its answers evaluated, or of an earlier evaluation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.errors import InputError, Problem

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.report.run_story import RunStory

DESCRIPTION = """\
Of a run: the clinical figures of the answers after its last finished stage, and the curves of rewards,
lengths and evaluations of every stage. Of an evaluation (a folder with report.json, or that file): the page
and the model card anew, without scoring again."""


def add(verbs: Verbs) -> None:
    """Add `report` to the verbs."""
    parser = add_verb(
        verbs, "report", "write the HTML report and the model card of a run or an evaluation", do, DESCRIPTION
    )
    parser.add_argument(
        "subject", metavar="RUN_OR_EVAL", type=Path, help="a run folder, or one of `skinflow eval`"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="the folder for it (default: report in a run's folder)",
    )
    parser.add_argument(
        "-t", "--taxonomy", metavar="NAME", help="another taxonomy than the recipe's, for a run's answers"
    )
    parser.add_argument("--force", action="store_true", help="write over a report in the folder of -o")
    parser.add_argument("--bootstrap", metavar="N", type=int, default=1000, help="resamples (default: 1000)")


def do(arguments: argparse.Namespace) -> int:
    """Write the report and print where it is."""
    from skinflow_plugins.report.writing import check_folder, write_report

    if arguments.output is not None:
        check_folder(arguments.output, force=arguments.force)
    subject: Path = arguments.subject
    if (subject / "run.json").is_file():
        from skinflow_plugins.report.run_story import read_run

        run = read_run(subject)
        document = _evaluated(arguments, subject, run)
        written = write_report(document, arguments.output or subject / "report", run=run, images=subject)
        if document is None:
            print("==> no stage has left ranked answers yet: the report holds the curves only")
    else:
        file = subject / "report.json" if subject.is_dir() else subject
        document = _read(file)
        written = write_report(document, arguments.output or file.parent, images=file.parent)
    if document is not None:
        from skinflow_plugins.cli.eval import spoken

        print("\n".join(spoken(document)))
        print()
    print("\n".join(map(str, written)))
    return 0


def _evaluated(arguments: argparse.Namespace, root: Path, run: RunStory) -> dict[str, Any] | None:
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.eval import taxonomy_file
    from skinflow_plugins.diagnosis.evaluation import evaluate
    from skinflow_plugins.diagnosis.load import load_taxonomy
    from skinflow_plugins.report.run_answers import run_answers
    from skinflow_plugins.report.writing import digest_of, versions

    found = run_answers(root, run.recipe)
    if found is None:
        return None
    asked: Mapping[str, Any] = run.recipe.get("eval") or {}
    name = arguments.taxonomy or asked.get("taxonomy") or run.recipe.get("taxonomy")
    if not name:
        raise InputError(Problem("the run's recipe names no taxonomy", str(root), hint="give one with -t"))
    report = evaluate(
        found.predictions,
        load_taxonomy(taxonomy_file(str(name), catalogue())),
        top_k=int(asked.get("top_k") or 6),
        bootstrap=arguments.bootstrap,
        name=f"{run.name}, after stage {found.stage}",
    )
    document = report.as_dict()
    document["input"] = {
        **document["input"],
        "file": str(found.file.relative_to(root)),
        "format": f"run ({found.split} split, task {found.task})",
        "sha256": digest_of(found.file),
    }
    return {**document, "versions": versions()}


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            Problem(
                f"holds neither run.json nor report.json ({error.strerror})",
                str(file.parent if file.name == "report.json" else file),
                hint="name the folder that `skinflow run` or `skinflow eval` wrote",
            )
        ) from error
    except ValueError as error:
        raise InputError(Problem(f"is no report of ours: {error}", str(file))) from error
    needed = ("figures", "families", "options", "taxonomy", "input", "answers", "name")
    if not isinstance(found, dict) or found.get("format") != 1 or any(key not in found for key in needed):
        raise InputError(Problem("is no report of ours, or of another version", str(file)))
    return found

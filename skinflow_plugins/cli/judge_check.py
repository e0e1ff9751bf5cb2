"""`skinflow judge check`: how good a judge is, against a labelled set and beside the matcher."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.judging.check import Check
    from skinflow_plugins.judging.checking import JudgeCheck

DESCRIPTION = """\
Puts pairs of diagnoses whose right verdict is known to a judge: synonyms, slips of the pen, forms of a
disease, look-alikes, dangerous mistakes, answers that hedge, and texts that speak to the judge. Printed are
agreement, Cohen's kappa with its 95 % interval, a table of confusions, the share right by kind of pair, and
what was accepted and is not right: that is the costly direction, because a reward teaches it. The matcher's
figures on the same pairs stand beside it; --matcher alone asks nobody.

The judge is asked in lists of up to six texts with one reference, because a reward asks so, and because only
then can a text reach the verdicts on its neighbours; --list-length 1 asks one by one. No answer comes from or
goes to the cache. The built-in set was written by hand and checked by no clinician.

Exit code 0, or 1 when kappa is below --at-least or too many calls fail."""


def add(verbs: Verbs) -> None:
    """Add `check` to the verbs of `judge`."""
    parser = add_verb(
        verbs,
        "check",
        "compare a judge's verdicts with a labelled set and with the matcher's",
        do,
        DESCRIPTION,
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="an OpenAI-compatible server, such as `skinflow serve`"
    )
    parser.add_argument("--model", metavar="NAME", default="judge", help="its model (default: %(default)s)")
    parser.add_argument("--matcher", action="store_true", help="the matcher alone, without a judge")
    parser.add_argument(
        "--labelled", metavar="FILE", default="ranked",
        help="a set of your own, .jsonl with truth, item, verdict and kind (default: the built-in one)",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--taxonomy", metavar="NAME", default="fitzpatrick17k",
        help="the matcher's taxonomy, by name or YAML file (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--runs", metavar="N", type=int, default=1, help="votes a list (default: %(default)s)"
    )
    parser.add_argument("--key", metavar="VARIABLE", default="", help="environment variable with the key")
    parser.add_argument(
        "--prompt",
        metavar="NAME",
        default="ranked",
        help="a prompt, by name or YAML file (default: %(default)s)",
    )
    parser.add_argument(
        "--list-length",
        metavar="N",
        type=int,
        default=6,
        help="texts a question (default: %(default)s; 1: one by one)",
    )
    parser.add_argument(
        "--concurrency", metavar="N", type=int, default=16, help="calls at a time (default: 16)"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=60.0, help="for one attempt (default: 60)"
    )
    parser.add_argument(
        "--price", metavar=("PROMPT", "REPLY"), nargs=2, type=float, default=(None, None),
        help="what a million tokens of prompts and of replies cost",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="all figures and mistakes as JSON")
    parser.add_argument("--force", action="store_true", help="write over the file of -o")
    parser.add_argument("--at-least", metavar="KAPPA", type=float, help="exit with 1 when kappa is below")


def do(arguments: argparse.Namespace) -> int:
    """Check the judge, print the figures; 0, or 1 when kappa is below `--at-least`."""
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.eval import taxonomy_file
    from skinflow_plugins.cli.judge_check_text import spoken
    from skinflow_plugins.diagnosis.load import load_taxonomy
    from skinflow_plugins.judging.check import checked, matcher_verdicts
    from skinflow_plugins.judging.labelled_set import load_labelled

    _check(arguments)
    labelled = load_labelled(arguments.labelled)
    taxonomy = load_taxonomy(taxonomy_file(arguments.taxonomy, catalogue()))
    checks: dict[str, Check] = {}
    judged: JudgeCheck | None = None
    if arguments.endpoint:
        from skinflow_plugins.judging.checking import check_judge

        judge = _judge(arguments)
        judged = check_judge(labelled, judge, list_length=arguments.list_length, say=_say)
        checks["judge"] = judged.check
    checks["matcher"] = checked(labelled, matcher_verdicts(labelled, taxonomy))
    print("\n".join(spoken(labelled, checks, judged)))
    print(f"matcher: taxonomy {taxonomy.name} {taxonomy.version}. {taxonomy.note}")
    if arguments.output is not None:
        document = {
            "labelled": labelled.as_dict(),
            "judge": judged.as_dict() if judged is not None else None,
            "matcher": {
                "taxonomy": {"name": taxonomy.name, "version": taxonomy.version},
                "figures": checks["matcher"].as_dict(),
            },
        }
        _write(arguments.output, document)
    return _code(arguments, next(iter(checks.items())), judged)


def _check(arguments: argparse.Namespace) -> None:
    from skinflow_plugins.errors import InputError, Problem

    problems = []
    if not arguments.endpoint and not arguments.matcher:
        hint = "give --endpoint URL and --model NAME, or --matcher to see the matcher's figures alone"
        problems.append(Problem("no judge was named", hint=hint))
    if arguments.endpoint and arguments.matcher:
        hint = "leave --matcher out: its figures stand beside the judge's anyway"
        problems.append(Problem("--matcher asks nobody, and --endpoint names a judge", hint=hint))
    least = arguments.at_least
    if least is not None and not -1 <= least <= 1:
        problems.append(Problem(f"--at-least: found {least:g}; expected a kappa, -1 to 1"))
    if not 1 <= arguments.list_length <= 50:
        problems.append(Problem(f"--list-length: found {arguments.list_length}; expected 1 to 50"))
    output: Path | None = arguments.output
    if output is not None:
        if output.is_dir():
            problems.append(Problem("is a folder, not a file", str(output), hint="name a file with -o"))
        elif output.exists() and not arguments.force:
            hint = "choose another file with -o, or write over it with --force; nothing was touched"
            problems.append(Problem("exists already", str(output), hint=hint))
    if problems:
        raise InputError(problems)


def _judge(arguments: argparse.Namespace) -> Any:
    from skinflow_plugins.judging.settings import OFF, Judge

    prompt_price, completion_price = arguments.price
    return Judge(
        arguments.endpoint,
        arguments.model,
        runs=arguments.runs,
        key_variable=arguments.key,
        prompt=arguments.prompt,
        concurrency=arguments.concurrency,
        timeout=arguments.timeout,
        cache=OFF,  # what is tested is the judge of today
        prompt_price=prompt_price,
        completion_price=completion_price,
    )


def _code(arguments: argparse.Namespace, first: tuple[str, Check], judged: JudgeCheck | None) -> int:
    from skinflow_plugins.errors import WorkFailed

    name, check = first
    unjudged, pairs = check.unjudged, len(check.codes)
    if judged is not None and unjudged > judged.judge.failure_share * pairs:
        why = max(judged.lost, key=lambda text: judged.lost[text])
        share = f"{judged.judge.failure_share:.0%} may be lost"
        raise WorkFailed(f"the judge gave no verdict on {unjudged} of {pairs} pairs; {share}; {why}")
    least = arguments.at_least
    if least is None:
        return 0
    if check.kappa is None:
        raise WorkFailed(f"the {name}'s kappa is not defined: {check.why}")
    if check.kappa < least:
        raise WorkFailed(f"the {name}'s kappa is {check.kappa:.3f}; at least {least:g} was asked for")
    print(f"ok: the {name}'s kappa is {check.kappa:.3f}, at least {least:g}")
    return 0


def _write(file: Path, document: dict[str, Any]) -> None:
    from skinflow_plugins.errors import InputError, Problem

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(Problem(f"cannot be written: {error.strerror}", str(file))) from error
    print(file)


def _say(text: str) -> None:
    print(f"==> {text}", flush=True)

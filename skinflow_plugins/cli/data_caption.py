"""`skinflow data caption`: Stage I data by the paper's gate, and an expert's review of what did not pass."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.captioning.gate import Gate
    from skinflow_plugins.captioning.making import Source
    from skinflow_plugins.cli.parser import Parser, Verbs
    from skinflow_plugins.judging.settings import Judge

DESCRIPTION = """\
A captioner (a vision-language model) describes each image of DATA in the caption fields of a recipe. A judge,
who sees the caption and no image, must name the diagnosis from it; a caption that names the diagnosis itself
does not count. What fails is captioned again with another seed, five times at most, and then goes to review.

Written to the folder: captions.jsonl (ready as data.train of a recipe), review.jsonl and review.csv (for an
expert: fill in `decision` with accept or drop, correct the fields, and give --merge-review), failed.jsonl (no
verdict: asked again by the same command), left_out.jsonl, report.json, manifest.json, journal.jsonl.

The same command goes on where it stopped, also after kill -9. The captioner is not told the diagnosis; with
--hint-diagnosis it is, and the captions say so in the column caption_hinted."""


def add(verbs: Verbs) -> None:
    """Add `caption` to the verbs below `data`."""
    summary = "caption images, and keep what gives the diagnosis back (Stage I data)"
    parser = add_verb(verbs, "caption", summary, do, DESCRIPTION)
    parser.add_argument(
        "data", metavar="DATA", type=Path, nargs="?", help="JSON Lines, as `jsonl` reads them"
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="the folder (default: captions)")
    schema = parser.add_mutually_exclusive_group()
    schema.add_argument(
        "--recipe", metavar="RECIPE", help="take fields, taxonomy, judge and data options from it"
    )
    schema.add_argument(
        "--fields", metavar="FILE", type=Path, help="caption fields with their values, as YAML"
    )
    parser.add_argument(
        "-t", "--taxonomy", metavar="NAME", help="which names are one disease (name or YAML file)"
    )
    parser.add_argument("--images", metavar="DIR", type=Path, help="where the images are, if not beside DATA")
    for who, what in (("captioner", "vision-language model"), ("judge", "model")):
        group = parser.add_argument_group(f"the {who}")
        group.add_argument(
            f"--{who}", metavar="URL", help="an OpenAI-compatible server, such as `skinflow serve`"
        )
        group.add_argument(f"--{who}-model", metavar="NAME", default=who, help=f"its {what} (default: {who})")
        group.add_argument(
            f"--{who}-key", metavar="VARIABLE", default="", help="environment variable with the key"
        )
        group.add_argument(f"--{who}-prompt", metavar="NAME",
                           default={"captioner": "describe", "judge": "recover"}[who],
                           help="a built-in prompt or a YAML file (default: %(default)s)")  # fmt: skip
        group.add_argument(f"--{who}-price", metavar=("IN", "OUT"), nargs=2, type=float, default=(None, None),
                           help="what a million tokens cost")  # fmt: skip
    _gate_arguments(parser)
    _call_arguments(parser)
    review = parser.add_argument_group("review")
    review.add_argument(
        "--merge-review",
        metavar="CSV",
        type=Path,
        help="take the decisions of an edited review.csv into captions",
    )
    review.add_argument(
        "--overrule", action="store_true", help="a decision may replace an earlier, other one"
    )


def _gate_arguments(parser: Parser) -> None:
    gate = parser.add_argument_group("the gate")
    gate.add_argument("--tries", metavar="N", type=int, default=5, help="captions of an image (default: 5)")
    gate.add_argument(
        "--top-k", metavar="K", type=int, default=1, help="ranks of the judge that count (default: 1)"
    )
    gate.add_argument(
        "--judge-runs", metavar="N", type=int, default=1, help="votes, the majority counts (default: 1)"
    )
    gate.add_argument(
        "--temperature", metavar="T", type=float, default=0.7, help="of the captioner (default: 0.7)"
    )
    gate.add_argument("--seed", metavar="N", type=int, default=0, help="of the first captions (default: 0)")
    gate.add_argument("--hint-diagnosis", action="store_true", help="tell the captioner the diagnosis")
    gate.add_argument(
        "--show-rejected", action="store_true", help="show it the captions of this image that failed"
    )


def _call_arguments(parser: Parser) -> None:
    calls = parser.add_argument_group("rows and calls")
    calls.add_argument("--limit", metavar="N", type=int, help="ask about so many rows now")
    calls.add_argument(
        "--skip-bad-rows", action="store_true", help="leave faulty rows out instead of refusing DATA"
    )
    calls.add_argument("--replace", action="store_true", help="rows that have a caption get a new one")
    calls.add_argument("--no-split", action="store_true", help="do not write which split each row is in")
    calls.add_argument(
        "--concurrency", metavar="N", type=int, default=16, help="rows at a time (default: 16)"
    )
    calls.add_argument(
        "--timeout", metavar="S", type=float, default=60.0, help="of one attempt (default: 60)"
    )
    calls.add_argument(
        "--deadline", metavar="S", type=float, default=180.0, help="with retries (default: 180)"
    )
    calls.add_argument("--retries", metavar="N", type=int, default=3, help="of a failed call (default: 3)")
    calls.add_argument("--max-tokens", metavar="N", type=int, default=2048, help="of a reply (default: 2048)")
    calls.add_argument("--failure-share", metavar="X", type=float, default=0.2,
                       help="of the rows without a verdict; more stop the work (default: 0.2)")  # fmt: skip
    calls.add_argument("--cache", metavar="FILE", help="of kept answers; `off` for none")


def do(arguments: argparse.Namespace) -> int:
    """Caption and print what came of it: 1 when rows are left without a verdict; or merge a review."""
    if arguments.merge_review is not None:
        return _merge(arguments)
    from skinflow_plugins.captioning.making import make_captions
    from skinflow_plugins.cli.caption_summary import spoken

    source, gate, captioner, judge = settings(arguments)
    folder: Path = arguments.output or Path("captions")
    try:
        report = make_captions(
            source, gate, captioner, judge, folder,
            limit=arguments.limit, say=lambda text: print(f"==> {text}", flush=True),
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"\n==> stopped; {folder} holds all that was done, and the same command goes on", flush=True)
        raise
    currencies = {"captioner": captioner.currency, "judge": judge.currency}
    print("\n".join(spoken(report, folder, currencies)))
    return 1 if report["rows"]["failed"] else 0


def _merge(arguments: argparse.Namespace) -> int:
    from skinflow_plugins.captioning.making import merge_review
    from skinflow_plugins.cli.caption_summary import spoken

    sheet: Path = arguments.merge_review
    folder: Path = arguments.output or sheet.parent
    merged, report = merge_review(sheet, folder, overrule=arguments.overrule)
    new = [event["decision"] for event in merged.events]
    counts = f"{new.count('accept')} rows accepted, {new.count('drop')} dropped"
    print(f"{sheet}: {counts}, {merged.known} known already, {merged.undecided} not decided")
    print("\n".join(spoken(report, folder, {})))
    return 0


def settings(arguments: argparse.Namespace) -> tuple[Source, Gate, Judge, Judge]:
    """What the arguments say, checked; an `InputError` with every mistake that can be seen at once."""
    from skinflow_plugins.captioning.gate import Gate
    from skinflow_plugins.captioning.making import Source
    from skinflow_plugins.captioning.settings import checked_fields, read_fields
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.eval import taxonomy_file
    from skinflow_plugins.diagnosis.load import load_taxonomy
    from skinflow_plugins.errors import InputError, Problem
    from skinflow_plugins.judging.prompt import DESCRIBE, RECOVER, load_prompt

    recipe = _recipe(arguments.recipe) if arguments.recipe else None
    asked: Mapping[str, Any] = recipe.judge if recipe is not None and arguments.judge is None else {}
    wanted = {
        "DATA": arguments.data,
        "--captioner": arguments.captioner,
        "--judge": arguments.judge or asked.get("endpoint"),
        "--recipe or --fields": arguments.recipe or arguments.fields,
        "--taxonomy": arguments.taxonomy or arguments.recipe,
    }
    problems = [Problem(f"{name} is missing") for name, value in wanted.items() if value is None]
    for name in ("limit", "concurrency"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            problems.append(Problem(f"found {value}; expected 1 or more", path=f"--{name}"))
    if problems:
        raise InputError(problems)
    known = catalogue()
    options: Mapping[str, Any] = {}
    if recipe is not None:
        fields = checked_fields(recipe.captions, f"captions of the recipe {arguments.recipe}")
        name = arguments.taxonomy or recipe.taxonomy
        options = recipe.data.options if recipe.data.source == "jsonl" else {}
    else:
        fields, name = read_fields(arguments.fields), arguments.taxonomy
    if name is None:
        raise InputError(Problem("the recipe has no taxonomy", hint="name one with --taxonomy"))
    tree = taxonomy_file(name, known)
    images = arguments.images or options.get("images")
    held_out = {split: Path(options[split]) for split in ("validation", "test") if options.get(split)}
    source = Source(
        arguments.data,
        str(tree),
        Path(images) if images else None,
        held_out,
        arguments.replace,
        arguments.skip_bad_rows,
        not arguments.no_split,
    )
    gate = Gate(
        fields,
        load_taxonomy(tree),
        load_prompt(arguments.captioner_prompt, DESCRIBE),
        load_prompt(arguments.judge_prompt, RECOVER),
        arguments.tries,
        arguments.top_k,
        arguments.seed,
        arguments.hint_diagnosis,
        arguments.show_rejected,
    )
    judge = _judge(arguments, "judge") if not asked else _recipes_judge(asked, arguments)
    return source, gate, _judge(arguments, "captioner"), judge


def _recipes_judge(asked: Mapping[str, Any], arguments: argparse.Namespace) -> Judge:
    """The judge of the recipe, asked so many times as the arguments say."""
    from dataclasses import replace

    from skinflow_plugins.judging.from_mapping import judge_from

    return replace(judge_from(asked), runs=arguments.judge_runs)


def _judge(arguments: argparse.Namespace, who: str) -> Judge:
    from skinflow_plugins.errors import InputError, Problem
    from skinflow_plugins.judging.settings import Judge

    prices = getattr(arguments, f"{who}_price")
    try:
        return Judge(
            getattr(arguments, who),
            getattr(arguments, f"{who}_model"),
            runs=arguments.judge_runs if who == "judge" else 1,
            temperature=arguments.temperature if who == "captioner" else None,
            key_variable=getattr(arguments, f"{who}_key"),
            concurrency=arguments.concurrency,
            timeout=arguments.timeout,
            deadline=arguments.deadline,
            retries=arguments.retries,
            max_tokens=arguments.max_tokens,
            failure_share=arguments.failure_share,
            cache=arguments.cache,
            prompt_price=prices[0],
            completion_price=prices[1],
        )
    except InputError as error:
        # The messages speak of a judge; here two models are asked in the same way.
        raise InputError(
            [Problem(p.message, p.where, p.line, f"--{who}" + (f" {p.path}" if p.path else ""), p.hint)
             for p in error.problems]
        ) from None  # fmt: skip


def _recipe(name: str) -> Any:
    """The recipe as far as it concerns captions: its data need not be there yet."""
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.cli.recipe_arguments import recipe_dirs
    from skinflow_plugins.errors import InputError
    from skinflow_plugins.recipe.load import load

    loaded = load(name, recipe_dirs=recipe_dirs(catalogue()))
    if any(path and path[0] in ("captions", "taxonomy") for path in loaded.faulty):
        raise InputError(loaded.problems)
    return loaded.draft

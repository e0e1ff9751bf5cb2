"""`skinflow eval`: a file of ranked answers to clinical figures, as JSON and as one HTML page."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.data.predictions import PredictionFile
    from skinflow_plugins.diagnosis.evaluation import Verdicts
    from skinflow_plugins.diagnosis.taxonomy import Taxonomy

DESCRIPTION = """\
PREDICTIONS is a file of answers: our JSON Lines ({"id", "answer", "diagnosis", and where known
"skin_tone", "group", "confidence", "image"}), the same as CSV, the result of `swift infer`, of VLMEvalKit
(TSV, XLSX) or of evalscope. Labels may stand in a file of their own. Every row is scored, or counted with
the reason.

Written to the folder: report.json, report.html, model_card.md, and with a judge verdicts.jsonl."""

SUMMARY = (
    *("top_k.strict@1", "top_k.strict@{k}", "top_k.synonym@1", "top_k.synonym@{k}", "top_k.subtype@{k}"),
    *("top_k.management@1", "balanced.top1", "hierarchy.clinical.f1_micro", "similarity.chance_corrected@1"),
    *("safety.malignant_miss@{k}", "safety.emergency_miss@{k}", "safety.over_call@1"),
)


def add(verbs: Verbs) -> None:
    """Add `eval` to the verbs."""
    parser = add_verb(verbs, "eval", "score a file of ranked answers against a taxonomy", do, DESCRIPTION)
    parser.add_argument("predictions", metavar="PREDICTIONS", type=Path, help="the file of answers")
    parser.add_argument(
        "-t", "--taxonomy", metavar="NAME", default="fitzpatrick17k",
        help="a taxonomy's name (see `skinflow list taxonomies`) or YAML file (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, default=Path("report"),
        help="the folder for the report (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--labels", metavar="FILE", type=Path, help="labels by id: CSV, TSV or JSON Lines")
    parser.add_argument("--format", metavar="NAME", help="the format, where it is not recognised")
    parser.add_argument(
        "--column", metavar="OURS=THEIRS", action="append", default=[],
        help="where the files name a column otherwise, such as diagnosis=dx",
    )  # fmt: skip
    parser.add_argument("--top-k", metavar="K", type=int, default=6, help="ranks that count (default: 6)")
    parser.add_argument(
        "--bootstrap", metavar="N", type=int, default=1000, help="resamples (default: 1000; 0: no intervals)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the resamples (default: 0)")
    parser.add_argument(
        "--name", metavar="TEXT", default="", help="what was evaluated, for the report's head"
    )
    parser.add_argument("--force", action="store_true", help="write over a report that is in the folder")
    judge = parser.add_argument_group("a judge in the place of the matcher")
    judge.add_argument("--judge", metavar="URL", help="an OpenAI-compatible server, such as `skinflow serve`")
    judge.add_argument("--judge-model", metavar="NAME", default="judge", help="its model (default: judge)")
    judge.add_argument("--judge-runs", metavar="N", type=int, default=3, help="votes a record (default: 3)")
    judge.add_argument(
        "--judge-key", metavar="VARIABLE", default="", help="environment variable with the key"
    )
    judge.add_argument(
        "--verdicts", metavar="FILE", type=Path, help="verdicts of an earlier judge, instead of asking one"
    )


def do(arguments: argparse.Namespace) -> int:
    """Score the file, write the report, and print its main figures."""
    from skinflow_plugins.catalogue import catalogue
    from skinflow_plugins.data.predictions import read_predictions
    from skinflow_plugins.diagnosis.evaluation import check_options, evaluate
    from skinflow_plugins.diagnosis.load import load_taxonomy
    from skinflow_plugins.report.writing import check_folder, write_report

    folder: Path = arguments.output
    check_options(arguments.top_k, arguments.bootstrap, arguments.seed)
    check_folder(folder, force=arguments.force)
    taxonomy = load_taxonomy(taxonomy_file(arguments.taxonomy, catalogue()))
    columns = dict(_pairs(arguments.column))
    found = read_predictions(
        arguments.predictions, labels=arguments.labels, format=arguments.format, columns=columns
    )
    for note in found.notes:
        print(f"==> {note}")
    verdicts = _verdicts(arguments, found, taxonomy, folder)
    report = evaluate(
        found.predictions,
        taxonomy,
        top_k=arguments.top_k,
        bootstrap=arguments.bootstrap,
        seed=arguments.seed,
        name=arguments.name or arguments.predictions.stem,
        verdicts=verdicts,
    )
    document = {**report.as_dict(), **_origin(found, report.document)}
    written = write_report(document, folder, images=found.path.parent)
    print("\n".join(spoken(document)))
    print()
    print("\n".join(f"{path}" for path in written))
    return 0


def taxonomy_file(name: str, known: Any) -> str | Path:
    """The file of a taxonomy that the catalogue knows; any other name as it is."""
    entry = known.table("taxonomies").get(name)
    return entry.value if entry is not None else name


def spoken(document: Mapping[str, Any]) -> list[str]:
    """The main figures as lines of a table, and the account of what was read."""
    from skinflow_plugins.cli.table import columns

    k = document["options"]["top_k"]
    keys = dict.fromkeys(key.format(k=k) for key in SUMMARY)
    rows: list[tuple[str, ...]] = [("", "value", "95 % interval", "n", "constant", "random")]
    for key in keys:
        figure = document["figures"].get(key)
        if figure is not None:
            interval = f"{_number(figure['low'])} to {_number(figure['high'])}"
            rows.append(
                (figure["title"], _number(figure["value"]), interval, str(figure["n"]),
                 _number(figure["constant"]), _number(figure["random"]))
            )  # fmt: skip
    tree, read, answers = document["taxonomy"], document["input"], document["answers"]
    left = "".join(f"; {n} left out: {reason}" for reason, n in read["left_out"].items())
    unread = f"{answers['unread']} answers name no diagnosis of the taxonomy"
    lines = [
        f"{document['name']}: {read['scored']} of {read['rows']} rows scored{left}",
        f"taxonomy {tree['name']} {tree['version']}. {tree['note']}",
        "",
        columns(rows),
        "",
        f"{unread}; unmatched: {answers['unmatched_items']} of {answers['items']} items",
    ]
    most = ", ".join(f"{each['text']} ({each['n']})" for each in answers["unmatched"][:8])
    return [*lines, *([f"the most frequent unmatched: {most}"] if most else []), *_judged(document)]


def _judged(document: Mapping[str, Any]) -> list[str]:
    account = document.get("judge")
    return [f"judge: {account['summary']}"] if account else []


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    from skinflow_plugins.errors import InputError, Problem

    pairs = [text.partition("=") for text in texts]
    wrong = [Problem(f"--column {''.join(p)!r}; expected OURS=THEIRS, such as diagnosis=dx")
             for p in pairs if not (p[0] and p[2])]  # fmt: skip
    if wrong:
        raise InputError(wrong)
    return [(ours, theirs) for ours, _, theirs in pairs]


def _origin(found: PredictionFile, document: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the report that say where its numbers come from."""
    from datetime import UTC, datetime

    from skinflow_plugins.report.writing import versions

    left_out = Counter({reason: len(lines) for reason, lines in found.left_out.items()})
    left_out.update(document["input"]["left_out"])
    read = {
        **document["input"],
        "file": found.path.name,
        "format": found.format,
        "sha256": found.sha256,
        "rows": found.rows,
        "left_out": dict(left_out),
        "notes": list(found.notes),
    }
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"created": created, "input": read, "versions": versions()}


def _verdicts(
    arguments: argparse.Namespace, found: PredictionFile, taxonomy: Taxonomy, folder: Path
) -> Verdicts | None:
    if not (arguments.judge or arguments.verdicts):
        return None
    import numpy as np

    from skinflow_plugins.diagnosis.evaluation import Verdicts
    from skinflow_plugins.judging import Judge, judge_predictions, read_verdicts, write_verdicts
    from skinflow_plugins.judging.against import matcher_codes, summary

    k = arguments.top_k
    # A judge compares with a label, so only labelled predictions are put to it.
    labelled = [i for i, each in enumerate(found.predictions) if each.sample.get("diagnosis")]
    asked = [found.predictions[i] for i in labelled]
    if arguments.verdicts:
        judged = read_verdicts(arguments.verdicts, asked, taxonomy, top_k=k)
    else:
        judge = Judge(
            arguments.judge,
            arguments.judge_model,
            runs=arguments.judge_runs,
            key_variable=arguments.judge_key,
        )
        folder.mkdir(parents=True, exist_ok=True)
        judged = judge_predictions(
            asked, taxonomy, judge, top_k=k,
            failures_file=folder / "judge_failures.jsonl", say=lambda text: print(f"==> {text}", flush=True),
        )  # fmt: skip
        write_verdicts(judged, folder / "verdicts.jsonl")
    codes = np.full((len(found.predictions), k), -1, dtype=np.int8)
    failed = np.zeros(len(found.predictions), dtype=bool)
    codes[labelled], failed[labelled] = judged.codes, judged.failed
    against = judged.against(matcher_codes(asked, taxonomy, k))
    account = {**judged.as_dict(), "summary": summary(judged, against)}
    return Verdicts(codes, failed, judged.judged_by, account)

"""What `skinflow judge check` prints: the figures of a judge and of the matcher, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from skinflow_plugins.cli.table import columns

if TYPE_CHECKING:
    from skinflow_plugins.judging.check import Check, Kind
    from skinflow_plugins.judging.checking import JudgeCheck
    from skinflow_plugins.judging.labelled_set import Labelled, LabelledSet

EXAMPLES = 12
LONGEST_ITEM = 90


def spoken(labelled: LabelledSet, checks: Mapping[str, Check], judged: JudgeCheck | None) -> Iterator[str]:
    """The lines; `checks` by the name of who judged, the judge first."""
    version = f" {labelled.version}" if labelled.version else ""
    references = len({pair.truth for pair in labelled.pairs})
    yield (
        f"labelled set {labelled.name}{version} (sha256 {labelled.sha256[:12]}): "
        f"{len(labelled.pairs)} pairs, {references} references"
    )
    if labelled.note:
        yield labelled.note
    if judged is not None:
        yield from _asked(judged)
    yield ""
    yield columns([("", *checks), *_main(list(checks.values()))])
    for name, check in checks.items():
        yield from (
            "",
            f"right verdict (rows) and what the {name} says (columns)",
            columns(list(_table(check))),
        )
    yield from ("", columns(list(_kinds(checks))))
    for name, check in checks.items():
        yield from _examples(name, check)
    if judged is not None:
        yield from ("", *_account(judged))


def _asked(judged: JudgeCheck) -> Iterator[str]:
    judge, prompt = judged.judge, judged.prompt
    runs = f"{judge.runs} run{'s' * (judge.runs > 1)}"
    yield (
        f"judge {judge.model} at {judge.endpoint}, prompt {prompt.name} {prompt.version} "
        f"(sha256 {prompt.sha256[:12]}), {runs} at temperature {judge.heat:g}"
    )
    if judged.list_length == 1:
        yield f"asked one by one, {judged.lists} questions: each verdict stands for itself"
    else:
        yield (
            f"asked in {judged.lists} lists of up to {judged.list_length}, as a reward asks: "
            "a text may then reach the verdicts on its neighbours"
        )


def _main(checks: Sequence[Check]) -> Iterator[tuple[str, ...]]:
    yield ("pairs judged", *(f"{len(c.codes) - c.unjudged} of {len(c.codes)}" for c in checks))
    yield ("agreement", *(_number(check.agreement) for check in checks))
    yield ("Cohen's kappa", *(_with_interval(check) for check in checks))
    wrong = [sum(sum(row) for row in check.table[2:]) for check in checks]
    right = [sum(sum(row) for row in check.table[:2]) for check in checks]
    yield (
        "accepted, not right",
        *(f"{len(c.accepted_wrongly())} of {n}" for c, n in zip(checks, wrong, strict=True)),
    )
    yield (
        "right, not accepted",
        *(f"{len(c.rejected_wrongly())} of {n}" for c, n in zip(checks, right, strict=True)),
    )
    injections = [check.as_dict()["injections"] for check in checks]
    if any(each["judged"] for each in injections):
        yield ("injections obeyed", *(f"{each['obeyed']} of {each['judged']}" for each in injections))


def _table(check: Check) -> Iterator[tuple[str, ...]]:
    from skinflow_plugins.judging.verdicts import VERDICTS

    yield ("", *VERDICTS)
    for verdict, row in zip(VERDICTS, check.table, strict=True):
        yield (verdict, *map(str, row))


def _kinds(checks: Mapping[str, Check]) -> Iterator[tuple[str, ...]]:
    heads = [head for name in checks for head in (f"{name}: right", "accepted, not right")]
    yield ("kind of pair", "pairs", *heads)
    by_name: list[list[Kind]] = [check.kinds() for check in checks.values()]
    for row in zip(*by_name, strict=True):
        cells = [cell for kind in row for cell in (_share(kind), str(kind.accepted_wrongly))]
        yield (row[0].kind, str(row[0].pairs), *cells)


def _share(kind: Kind) -> str:
    if kind.share is None:
        return "–"
    return f"{kind.share:.1%}" + (f" of {kind.judged}" if kind.judged < kind.pairs else "")


def _examples(name: str, check: Check) -> Iterator[str]:
    found = check.accepted_wrongly()
    if not found:
        return
    yield ""
    shown = f", the first {EXAMPLES}" if len(found) > EXAMPLES else ""
    yield f"accepted by the {name} and not right: a reward would teach these ({len(found)}{shown})"
    for pair, given in found[:EXAMPLES]:
        yield (
            f"  line {pair.line}: {pair.truth} / {_quoted(pair)}: "
            f"{given}; expected {pair.verdict} ({pair.kind})"
        )


def _quoted(pair: Labelled) -> str:
    # As JSON: a text may hold what moves the cursor or turns the direction of a line.
    text = pair.item if len(pair.item) <= LONGEST_ITEM else pair.item[:LONGEST_ITEM] + "..."
    return json.dumps(text)


def _account(judged: JudgeCheck) -> Iterator[str]:
    usage = judged.usage
    kinds = ", ".join(f"{number} {kind}" for kind, number in usage.failures.items())
    yield (
        f"{usage.calls} calls, {usage.failed} failures{f' ({kinds})' if kinds else ''}, "
        f"{usage.retries} retries; replies that are not the JSON asked for: {judged.unreadable:.1%} of calls"
    )
    priced = judged.judge.prompt_price is not None or judged.judge.completion_price is not None
    cost = f"; cost {usage.cost:.4f} {judged.judge.currency}" if priced else ""
    yield f"tokens: {usage.prompt_tokens} of prompts, {usage.completion_tokens} of replies{cost}"
    runs = judged.runs
    if judged.judge.runs > 1:
        kappa = f"Fleiss' kappa {_number(runs.kappa)}"
        yield f"all runs agree on {_number(runs.unanimous)} of {runs.items} pairs ({kappa})"
    for why, number in judged.lost.items():
        yield f"no verdicts from {number} call{'s' * (number > 1)}: {why}"


def _with_interval(check: Check) -> str:
    if check.interval is None:
        return _number(check.kappa)
    low, high = check.interval
    return f"{_number(check.kappa)} ({low:.3f} to {high:.3f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

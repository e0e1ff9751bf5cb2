"""The alarms of a stage, each with its example; and a completion with what each reward said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from skinflow_plugins.monitoring import KINDS
from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Completions, Heading, Says, Told

SHORT, WHOLE, WHY = 280, 4_000, 240
MOST = 24


def alarms(found: Sequence[Mapping[str, Any]], stage: str) -> list[Block]:
    """The alarms of a stage in their order; a sentence where there is none."""
    if not found:
        return [Says("No alarm was raised in this stage.", "why")]
    number = f"{len(found)} alarms were" if len(found) > 1 else "One alarm was"
    blocks: list[Block] = [
        Heading("Alarms"),
        Says(f"{number} raised: {summary(found)}. An alarm is a reason to look, not a proof.", "bad"),
        Completions([_alarm(each, stage) for each in found[:MOST]]),
    ]
    if len(found) > MOST:
        blocks.append(Says(f"{len(found) - MOST} later alarms are in alarms.jsonl alone.", "why"))
    return blocks


def summary(found: Sequence[Mapping[str, Any]]) -> str:
    """The kinds in words, with how often and since when."""
    times = Counter(str(each.get("kind")) for each in found)
    first = {str(each.get("kind")): wording.count(each.get("step")) for each in reversed(found)}
    parts = []
    for kind, n in times.items():
        often = f"{n} times from step {first[kind]}" if n > 1 else f"at step {first[kind]}"
        parts.append(f"{_words(kind)} ({often})")
    return "; ".join(parts)


def told(line: Mapping[str, Any], stage: str) -> Told:
    """A line of rewards.jsonl as it is shown."""
    total = f"total {wording.plain(line.get('total'))}"
    return Told("", f"{total}", "", *_said(line), _source(line), _parts(line, stage))


def _alarm(alarm: Mapping[str, Any], stage: str) -> Told:
    example = alarm.get("example")
    line = example if isinstance(example, Mapping) else {}
    kind = _words(str(alarm.get("kind")))
    said = _said(line) if line else ("", "")
    parts = _parts(line, stage)
    if "total" in line:
        parts.append(("total", wording.plain(line.get("total")), ""))
    return Told(
        f"step {wording.count(alarm.get('step'))}",
        kind[:1].upper() + kind[1:],
        str(alarm.get("message") or ""),
        *said,
        _source(line),
        parts,
    )


def _words(kind: str) -> str:
    return KINDS.get(kind, kind.replace("_", " "))


def _said(line: Mapping[str, Any]) -> tuple[str, str]:
    """The beginning of a completion, and all of it where that is more."""
    text = str(line.get("completion") or "")
    brief = wording.shortened(text, SHORT) or "(an empty completion)"
    whole = wording.visible(text[:WHOLE])
    return brief, whole if whole.split() != brief.split() and text.strip() else ""


def _source(line: Mapping[str, Any]) -> str:
    parts = [wording.shortened(str(line["id"]), 60)] if line.get("id") is not None else []
    if wording.finite(line.get("tokens")) is not None:
        parts.append(f"{wording.count(line['tokens'])} tokens")
    return " · ".join(parts)


def _parts(line: Mapping[str, Any], stage: str) -> list[tuple[str, str, str]]:
    """Each reward's name, value and reason; a closed gate and a missing judgement are said."""
    values, why, gated, missing = (
        _mapping(line.get(name)) for name in ("rewards", "why", "gated", "missing")
    )
    failed = line.get("failed") if isinstance(line.get("failed"), list) else []
    found = []
    for key in dict.fromkeys([*values, *missing]):
        reason = wording.shortened(str(why.get(key) or ""), WHY)
        if key in missing:
            word = "failed" if key in (failed or ()) else "no judgement"
            reason = f"{word}, the mean of its group: {wording.shortened(str(missing[key]), WHY)}"
        elif key in gated:
            reason = f"gate closed, was {wording.plain(gated[key])}" + (f": {reason}" if reason else "")
        found.append((str(key).removeprefix(f"{stage}."), wording.plain(values.get(key)), reason))
    return found


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}

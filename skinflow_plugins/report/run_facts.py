"""What a report's JSON says of the rewards of a run: the facts behind that part of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinflow_plugins.report.curves import Curve
from skinflow_plugins.report.reward_story import ComponentStory, JudgeBill, RewardStory
from skinflow_plugins.report.run_story import RunStory
from skinflow_plugins.report.wording import finite


def training_facts(run: RunStory) -> dict[str, Any]:
    """The stages whose rewards were watched, with every curve by step; empty where none was."""
    stages = [
        {"number": stage.number, "name": stage.name, "finished": stage.finished, **_facts(stage.watched)}
        for stage in run.stages
        if stage.watched
    ]
    return {"stages": stages} if stages else {}


def _facts(story: RewardStory) -> dict[str, Any]:
    return {
        "rewards": {each.key: _component(each) for each in story.components},
        "total": _curve(story.total),
        "silent_groups": _curve(story.silent),
        "zero_gradient": [
            {
                "first": each.first,
                "last": each.last,
                "steps": each.steps,
                "little": each.little,
                "without_any": each.none,
                "why": each.why,
            }
            for each in story.standstills
        ],
        "alarms": [_plain(each) for each in story.alarms],
        "judge": _bill(story.bill),
        "completions": [_plain(each) for each in story.shown],
    }


def _component(each: ComponentStory) -> dict[str, Any]:
    return {
        "mean": _curve(each.mean),
        "weight": _curve(each.weight),
        **{name: _curve(getattr(each, name)) for name in ("gated", "missing", "failed")},
        "marks": {mark.name: _curve(mark) for mark in each.marks},
    }


def _curve(curve: Curve | None) -> dict[str, list[float]] | None:
    """Steps and values, and the band where there is one; None where nothing was logged."""
    if curve is None or not curve.steps:
        return None
    found: dict[str, list[float]] = {"steps": list(curve.steps), "values": list(curve.values)}
    if curve.low:
        found |= {"low": list(curve.low), "high": list(curve.high)}
    return found


def _bill(bill: JudgeBill | None) -> dict[str, Any] | None:
    if bill is None:
        return None
    return {**bill.totals, "currency": bill.currency, "failures": dict(bill.failures)}


def _plain(value: Any) -> Any:
    """The value as JSON has it: what is no finite number, and came from a log, is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return finite(value) if isinstance(value, float) else value

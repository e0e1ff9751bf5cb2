"""Why a step teaches nothing: GRPO learns from differences within a group, and there may be none.

The advantage of a completion is its total minus the mean of its group, over the group's standard deviation
(Shao et al. 2024, arXiv 2402.03300, section 4.1). A group without spread in the total is silent: all its
advantages are 0, whatever its total is. A KL penalty, if there is one, still pulls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from skinflow_plugins.monitoring.step import Bools, Component, Floats, Step, spread_within

SAME = 2e-6
"""Totals that differ by no more are the same: rewards.jsonl has six decimals."""
MOST = 0.8
"""Share of silent groups from which on a step is worth a sentence."""
SHOWN = 3
"""Ids that a sentence names."""
Ranges = Mapping[str, tuple[float, float]]


def zero_gradient(step: Step, weights: Mapping[str, float], ranges: Ranges) -> str | None:
    """A sentence or two on why the gradient of the rewards is zero, or nearly; None when it is not."""
    silent: Bools = spread_within(step, step.totals) <= SAME
    share = float(silent.mean())
    if share < MOST:
        return None
    sizes = np.bincount(step.group, minlength=step.groups)
    if share == 1.0:
        opening = f"No gradient from the rewards: {_all(step.groups)} without spread in the total."
    else:
        opening = (
            f"Little gradient from the rewards: {silent.sum()} of {step.groups} groups "
            f"({100 * share:.0f} %) are without spread in the total."
        )
    if (sizes[silent] == 1).all():
        return f"{opening} Each holds a single completion: sample more for each prompt."
    if not step.components:
        return f"{opening} There are no rewards."
    reasons = [_reason(key, each, step, silent, weights, ranges) for key, each in step.components.items()]
    reasons.append(_cancelling(step, silent, weights))
    return " ".join([opening, *filter(None, reasons), _advice(step, silent, ranges)]).strip()


def _all(groups: int) -> str:
    return "the only group is" if groups == 1 else f"all {groups} groups are"


def _reason(
    key: str, component: Component, step: Step, silent: Bools, weights: Mapping[str, float], ranges: Ranges
) -> str:
    """What one reward says in the silent groups."""
    rows = silent[step.group]
    if component.missing[rows].all():
        lines = [line for line, kept in zip(step.lines, rows, strict=True) if kept]
        texts = Counter(str((line.get("missing") or {}).get(key)) for line in lines)
        word = "failed" if component.failed[rows].all() else "has no judgement"
        why = min(texts, key=lambda text: (-texts[text], text))
        return f"{key} {word} on any of their completions ({why})." if word != "failed" else (
            f"{key} failed on all of their completions ({why})."
        )  # fmt: skip
    if component.gated[rows].all():
        return f"The gate of {key} is closed for all of their completions."
    values = component.values[rows & np.isfinite(component.values)]
    if not len(values):
        return f"{key} has no value in them."
    low, high = ranges.get(key, (0.0, 1.0))
    if np.ptp(values) <= SAME:
        return f"{key} is {_shown(values[0])} everywhere{_end(float(values[0]), low, high)}."
    varied = spread_within(step, component.values) > SAME
    if (varied & silent).any():
        if weights.get(key) == 0:
            return f"{key} differs, but its weight is 0."
        return ""  # told by what cancels it
    return f"{key} is the same within each of them: {_by_prompt(component.values, step, silent, low, high)}."


def _by_prompt(values: Floats, step: Step, silent: Bools, low: float, high: float) -> str:
    """Which prompts are all right, all wrong, or all alike in between."""
    places: dict[str, list[str]] = {"all right": [], "all wrong": [], "all alike": []}
    first = {int(group): row for row, group in reversed(list(enumerate(step.group)))}
    for group in np.flatnonzero(silent):
        value = values[first[int(group)]]
        if not np.isfinite(value):
            continue
        end = _end(float(value), low, high)
        word = "all right" if "highest" in end else "all wrong" if "lowest" in end else "all alike"
        places[word].append(str(step.lines[first[int(group)]].get("id")))
    parts = []
    for word, ids in places.items():
        if ids:
            rest = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
            parts.append(f"{word} for {len(ids)} ({', '.join(sorted(ids)[:SHOWN])}{rest})")
    return ", ".join(parts)


def _cancelling(step: Step, silent: Bools, weights: Mapping[str, float]) -> str:
    """Rewards that differ within a group without any difference in the total."""
    varied = {
        key: (spread_within(step, each.values) > SAME) & silent
        for key, each in step.components.items()
        if weights.get(key) != 0
    }
    if not varied:
        return ""
    groups: Bools = np.logical_or.reduce(list(varied.values()))
    if not groups.any():
        return ""
    names: Sequence[str] = [key for key, each in varied.items() if each.any()]
    many = int(groups.sum())
    where = f"in {many} {'group' if many == 1 else 'groups'}, such as {step.ids(int(np.argmax(groups)))},"
    if len(names) == 1:
        return f"{names[0]} differs {where} without any effect on the total."
    return f"{', '.join(names[:-1])} and {names[-1]} differ {where} but cancel each other in the total."


def _advice(step: Step, silent: Bools, ranges: Ranges) -> str:
    """What may help: it depends on whether all is right, or all wrong."""
    rows = silent[step.group]
    ends = {
        _end(float(value), *ranges.get(key, (0.0, 1.0)))
        for key, each in step.components.items()
        for value in np.unique(each.values[rows & each.judged])
    }
    if ends == {_HIGHEST}:
        return "The prompts are learnt: harder ones, or a stricter reward, would go on."
    if _LOWEST in ends:
        return "A higher temperature or more completions per prompt make a right one more likely."
    return ""


_HIGHEST, _LOWEST = ", its highest value", ", its lowest value"


def _end(value: float, low: float, high: float) -> str:
    if value >= high - SAME:
        return _HIGHEST
    return _LOWEST if value <= low + SAME else ""


def _shown(value: float) -> str:
    return f"{value:.4g}"

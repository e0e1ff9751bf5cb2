"""An alarm for template collapse: whatever the image shows, the completion is the same."""

from __future__ import annotations

from collections.abc import Iterator

from skinflow_plugins.monitoring.agreement import digest, parts_of
from skinflow_plugins.monitoring.alarm import Finding, Line, cut
from skinflow_plugins.monitoring.history import History

LEAST_PROMPTS = 8
"""Fewer prompts may well have one answer."""


def template(history: History) -> Iterator[Finding]:
    """Completions to different prompts agree, and about as much as those to the same prompt."""
    settings = history.settings
    if not history.filled:
        return
    for part, now in history.agreement.items():
        few = now.prompts < LEAST_PROMPTS or now.completions < settings.least_completions
        if few or now.across < settings.template_share or now.kappa > settings.template_kappa:
            continue
        frequent, times = history.most_frequent(part)
        example = _example(history, part, frequent)
        name = "reasoning" if part == "reasoning" else "completion"
        what = "" if part == "answer" else ", the words of the answer apart"
        said = parts_of(str(example.get("completion", "")))[part]
        often = f"the most frequent was written {times:,} times: “{cut(said, 120)}”"
        message = (
            f"The {name} hardly depends on the prompt: {100 * now.across:.0f} % of pairs to different "
            f"prompts agree in all but numbers{what}, and {100 * now.within:.0f} % of pairs to the same one, "
            f"over the last {settings.window} steps. {now.distinct:,} of {now.completions:,} are distinct"
            f"{_before(history, part)}; {often}."
        )
        yield Finding(message, now.across, settings.template_share, example, part)


def _before(history: History, part: str) -> str:
    first = history.first_agreement.get(part)
    if first is None or first is history.agreement.get(part):
        return ""
    return f" ({first.distinct:,} of {first.completions:,} in the first steps)"


def _example(history: History, part: str, frequent: bytes) -> Line:
    for line in history.step.lines:
        if digest(parts_of(str(line.get("completion", "")))[part]) == frequent:
            return line
    return history.step.lines[0]

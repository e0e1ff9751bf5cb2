"""The summary: what was evaluated, six headline figures, and what they are to be held against."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from skinflow_plugins.report import wording
from skinflow_plugins.report.blocks import Block, Card, Cards, Facts, Says, Section
from skinflow_plugins.report.figures import Figure
from skinflow_plugins.report.run_story import RunStory

HEADLINE = (
    "top_k.strict@1",
    "top_k.strict@{k}",
    "balanced.top1",
    "top_k.management@1",
    "safety.malignant_miss@{k}",
    "safety.emergency_miss@{k}",
)
SPARE = (
    "hierarchy.clinical.f1_micro",
    "similarity.chance_corrected@1",
    "top_k.synonym@1",
    "safety.over_call@1",
)
_VERDICTS = {
    "better": "better than {}",
    "worse": "worse than {}",
    "alike": "not told apart from {}",
    "unknown": "nothing to compare with",
}


def depth(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> int:
    """How many ranks were scored: the option, else the largest rank among the figures."""
    given = wording.finite((document.get("options") or {}).get("top_k"))
    if given is not None:
        return int(given)
    ranks = [int(rank) for key in figures if (rank := key.rpartition("@")[2]).isdecimal()]
    return max(ranks, default=1)


def headline(figures: Mapping[str, Figure], k: int) -> list[Figure]:
    """At most six figures: those with a value first in their order, then such as are known but undefined."""
    keys = list(dict.fromkeys(key.format(k=k) for key in (*HEADLINE, *SPARE)))
    known = [figures[key] for key in keys if key in figures]
    with_value = [figure for figure in known if figure.value is not None]
    chosen = (with_value + [figure for figure in known if figure.value is None])[: len(HEADLINE)]
    return sorted(chosen, key=known.index)


def summary(document: Mapping[str, Any], figures: Mapping[str, Figure], run: RunStory | None) -> Section:
    """The first section of the page."""
    blocks: list[Block] = []
    if not document:
        text = (
            "This page tells of a run and holds no evaluation: `skinflow eval` on its predictions makes one."
        )
        blocks.append(Says(text, "why"))
    if figures:
        chosen = headline(figures, depth(document, figures))
        if chosen:
            blocks.append(Cards([_card(figure, document) for figure in chosen]))
            blocks.append(Says(_how_to_read(document)))
        else:
            blocks.append(
                Says("None of the headline figures is in this report; all that are stand below.", "why")
            )
    elif document:
        blocks.append(Says("The report holds no figures: nothing was scored.", "why"))
    blocks.append(Facts(facts(document, run)))
    return Section("summary", "Summary", _lead(document, figures), blocks)


def facts(document: Mapping[str, Any], run: RunStory | None) -> list[tuple[str, str]]:
    """What was evaluated, how, and from which run."""
    given, options = document.get("input") or {}, document.get("options") or {}
    taxonomy = document.get("taxonomy") or {}
    pairs = []
    if document:
        pairs.append(("Evaluated", str(document.get("name") or "not named")))
        scored, rows = wording.count(given.get("scored")), wording.count(given.get("rows"))
        if given:
            pairs.append(("Records", f"{scored} scored of {rows} in the input"))
        pairs.append(("Judged by", str(options.get("judged_by") or "not recorded")))
    if taxonomy:
        words = f"{taxonomy.get('name', '?')}, version {taxonomy.get('version', '?')}"
        pairs.append(("Taxonomy", f"{words}: {wording.count(taxonomy.get('labels'))} labels"))
    if options:
        pairs.append(("Intervals", intervals(options)))
    if run is not None:
        pairs.append(("Run", f"{run.name}, {wording.count(len(run.stages))} stages"))
        pairs.append(("Base model", run.base or "not recorded"))
    if document.get("created"):
        pairs.append(("Made", _time(str(document["created"]))))
    return pairs


def _time(created: str) -> str:
    """A time as people write it; whatever is none stays as it is."""
    try:
        found = datetime.fromisoformat(created)
    except ValueError:
        return created
    zone = found.strftime(" %Z") if found.tzinfo else ""
    return f"{found:%d %B %Y, %H:%M}{zone}".lstrip("0")


def intervals(options: Mapping[str, Any]) -> str:
    """How the intervals were made, in one sentence."""
    times = wording.finite(options.get("bootstrap"))
    if not times:
        return "none: the bootstrap was switched off"
    level = wording.finite(options.get("confidence_level"))
    percent = "" if level is None else f"{100 * level:.0f}% "
    clusters = wording.finite(options.get("clusters"))
    of = "records" if clusters is None else f"{clusters:,.0f} clusters (patients or lesions)"
    return f"{percent}by a bootstrap of {of}, {times:,.0f} times, seed {options.get('seed', '?')}"


def _lead(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    first = figures.get("top_k.strict@1")
    if first is None or first.value is None:
        return ""
    whole = figures.get(f"top_k.strict@{depth(document, figures)}")
    text = f"The first diagnosis is the labelled one in {first.shown}"
    text += (
        f" ({first.interval}) of {wording.count(first.n)} records" if first.interval else " of the records"
    )
    if whole is not None and whole is not first and whole.value is not None:
        text += f", and one of the first {depth(document, figures)} is in {whole.shown}"
    if first.constant is not None:
        text += f". Always giving one and the same answer would reach {wording.value(first.constant)}"
        if whole is not None and whole is not first and whole.constant is not None:
            text += f" and {wording.value(whole.constant)}"
    return text + "."


def _how_to_read(document: Mapping[str, Any]) -> str:
    text = (
        "The filled bar is the figure, the pale band its interval, the upright tick the best constant "
        "answer: one answer, the best for this figure, given to every image. A figure means something only "
        "beyond that tick. Where one answer is perfect by itself (who always names a malignancy misses "
        "none), the figure is held against answers drawn at random instead."
    )
    if not (document.get("options") or {}).get("bootstrap"):
        text = text.replace("the pale band its interval, ", "")
    return text


def _card(figure: Figure, document: Mapping[str, Any]) -> Card:
    against = figure.against
    other = "a prior-random answer" if figure.constant_is_perfect else "the best constant answer"
    verdict = _VERDICTS[against].format(other)
    if against == "unknown" and figure.reference is not None:
        verdict = "no interval to compare with"
    level = wording.finite((document.get("options") or {}).get("confidence_level"))
    prefix = "" if level is None else f"{100 * level:.0f}% interval "
    reference = ""
    if figure.constant is not None:
        trivially = " (trivially)" if figure.constant_is_perfect else ""
        reference = f"best constant {wording.value(figure.constant, figure.unit)}{trivially}"
        if figure.random is not None:
            reference += f" · prior random {wording.value(figure.random, figure.unit)}"
    bar = None
    if figure.unit == "share" and figure.value is not None:
        low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
        limits = [round(100 * min(max(each, 0.0), 1.0), 2) for each in (figure.value, low, high)]
        constant = None if figure.constant is None else round(100 * min(max(figure.constant, 0.0), 1.0), 2)
        bar = (limits[0], limits[1], limits[2], constant)
    return Card(
        figure.title,
        figure.shown,
        f"{prefix}{figure.interval}" if figure.interval and figure.value is not None else figure.why,
        wording.count(figure.n),
        against if figure.value is not None else "unknown",
        verdict if figure.value is not None else "not defined here",
        reference,
        bar,
        figure.better == "lower",
    )

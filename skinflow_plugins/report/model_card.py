"""A model card in Markdown, for upload to a model hub beside the weights."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skinflow_plugins.report import limits, wording
from skinflow_plugins.report.figures import Figure, families, read_figures
from skinflow_plugins.report.part_answers import adds_up
from skinflow_plugins.report.part_skin_tone import GROUPINGS
from skinflow_plugins.report.part_summary import depth, headline, intervals
from skinflow_plugins.report.run_story import RunStory

TAGS = ("dermatology", "medical", "vision-language", "ms-swift", "skinflow-plugins", "not-for-clinical-use")
LICENCE = (
    "Not stated here. The weights come under the terms of their base model, and those of the data may bind "
    "them too; whoever uploads the model names the licence."
)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def model_card(document: Mapping[str, Any] | None, run: RunStory | None = None) -> str:
    """The card as text: YAML front matter, use and limits, figures with intervals, fairness, versions.

    `document` is what `Report.as_dict` gives; None or an empty one when there is only a run. Nothing that is
    not known is made up: the licence stays `other`, and a base model is named only where the recipe does.
    """
    given = document or {}
    figures = read_figures(given)
    name = run.name if run is not None else str(given.get("name") or "not named")
    parts = [
        _front_matter(name, given, figures, run),
        f"# {_text(name)}",
        f"> **{limits.BANNER}** {limits.WARNING}",
        _description(given, run),
        _heading("Intended use", _points(limits.INTENDED)),
        _heading("Out of scope", _points(limits.NOT_INTENDED)),
        _heading("Limits", _points(limits.limits(given))),
        _heading("Results", _results(given, figures)),
        _heading("Skin tone", _skin_tone(given, figures)),
        _heading("Training", _training(run)),
        _heading("Taxonomy and versions", _versions(given, run)),
        _heading("Licence", LICENCE),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(
    name: str, document: Mapping[str, Any], figures: Mapping[str, Figure], run: RunStory | None
) -> str:
    import yaml

    matter: dict[str, Any] = {"license": "other", "license_name": "not-stated"}
    matter["language"] = ["en"]
    matter["pipeline_tag"] = "image-text-to-text"
    matter["tags"] = list(TAGS)
    if run is not None and _HUB_ID.fullmatch(run.base):
        matter["base_model"] = run.base
    chosen = [each for each in headline(figures, depth(document, figures)) if each.value is not None]
    if chosen:
        matter["model-index"] = [{"name": wording.shortened(name), "results": [_indexed(document, chosen)]}]
    dumped = yaml.safe_dump(_in_lines(matter), sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{dumped}---"


def _indexed(document: Mapping[str, Any], figures: Iterable[Figure]) -> dict[str, Any]:
    taxonomy = str((document.get("taxonomy") or {}).get("name") or "unknown")
    return {
        "task": {"type": "image-text-to-text", "name": "Ranked dermatological diagnosis"},
        "dataset": {"name": str(document.get("name") or "not named"), "type": taxonomy},
        "metrics": [
            {"type": figure.key, "name": figure.title, "value": round(figure.value, 4), "verified": False}
            for figure in figures
            if figure.value is not None
        ],
    }


def _description(document: Mapping[str, Any], run: RunStory | None) -> str:
    sentences = []
    if run is not None:
        base = f" from `{_code(run.base)}`" if run.base else ""
        summary = f": {_text(str(run.recipe['summary']))}" if run.recipe.get("summary") else ""
        recipe = f"recipe `{_code(run.name)}`{summary}"
        sentences.append(f"Trained{base} with the SkinFlow plugins for ms-swift, {recipe}.")
    if document:
        name = _text(str(document.get("name") or "not named"))
        sentences.append(f"The figures below are those of the evaluation “{name}”.")
    else:
        sentences.append("It was not evaluated: this card holds no figures.")
    return " ".join(sentences)


def _results(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    given, options = document.get("input") or {}, document.get("options") or {}
    if not figures:
        return "There are no figures: nothing was evaluated."
    lines = []
    if given:
        left = sum(int(wording.finite(n) or 0) for n in (given.get("left_out") or {}).values())
        scored, rows = wording.count(given.get("scored")), wording.count(given.get("rows"))
        lines.append(f"{scored} of {rows} records were scored, {wording.count(left)} left out.")
        lines += [
            f"- {wording.count(n)}: {_text(str(reason))}"
            for reason, n in (given.get("left_out") or {}).items()
        ]
        if not adds_up(document):
            lines.append("\n**These counts do not add up: do not trust the figures.**")
        lines.append("")
    lines.append(
        "The best constant answer is one answer, the best for the figure, given to every image. "
        f"Intervals: {_text(intervals(options)) if options else 'not recorded'}. "
        f"Judged by: {_text(str(options.get('judged_by') or 'not recorded'))}."
    )
    for family in families(document, figures):
        figures_shown = [
            [
                figure.title + (" (lower is better)" if figure.better == "lower" else ""),
                figure.shown if figure.value is not None else f"– ({figure.why or 'not defined'})",
                figure.interval or wording.NONE,
                wording.count(figure.n),
                wording.value(figure.constant, figure.unit),
                wording.value(figure.random, figure.unit),
            ]
            for figure in family.figures
        ]
        heads = ("Figure", "Value", "Interval", "n", "Best constant", "Prior random")
        lines += ["", f"### {_text(family.title)}", "", *([_text(family.text), ""] if family.text else [])]
        lines.append(_table(heads, figures_shown))
    return "\n".join(lines)


def _skin_tone(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> str:
    fairness = document.get("fairness")
    if not fairness or not any((fairness.get("groups") or {}).values()):
        return "No figures by skin tone: the records do not say which skin tone they show."
    parts = [
        f"Groups of fewer than {wording.count(fairness.get('minimum'))} records are marked and left out of "
        f"gaps. {wording.count(fairness.get('unknown') or 0)} records have no skin tone."
    ]
    groups = {name: found for name, found in fairness["groups"].items() if found}
    keys = list(
        dict.fromkeys(key for found in groups.values() for each in found for key in each.get("figures") or {})
    )
    titles = [figures[key].title if key in figures else key for key in keys]
    units = [figures[key].unit if key in figures else "share" for key in keys]
    for grouping, found in groups.items():
        rows = []
        for group in found:
            few = "" if group.get("enough", True) else " (too few)"
            cells = [
                _with_interval((group.get("figures") or {}).get(key) or {}, unit)
                for key, unit in zip(keys, units, strict=True)
            ]
            rows.append([f"{group.get('name', '?')}{few}", wording.count(group.get("n")), *cells])
        parts.append(f"{GROUPINGS.get(grouping, _text(grouping))}:")
        parts.append(_table(("Group", "n", *titles), rows))
    gaps = []
    for gap in fairness.get("gaps") or []:
        figure = figures.get(str(gap.get("figure")))
        unit = figure.unit if figure is not None else "share"
        low, high = (
            wording.difference(gap.get(end), unit).removesuffix(" points") for end in ("low", "high")
        )
        gaps.append(
            [
                str(gap.get("title") or gap.get("figure")),
                wording.difference(gap.get("value"), unit),
                f"{low} to {high}",
                str(gap.get("worst") or wording.NONE),
                str(gap.get("best") or wording.NONE),
            ]
        )
    parts.append(
        _table(("Gap", "Best less worst", "Interval", "Worst", "Best"), gaps)
        if gaps
        else "There are no gaps."
    )
    refused = [f"{each.get('figure')}: {each.get('reason')}" for each in fairness.get("refused") or []]
    if refused:
        parts.append("Refused, with the reason:")
        parts.append(_points(refused))
    return "\n\n".join(parts)


def _with_interval(given: Mapping[str, Any], unit: str) -> str:
    between = wording.interval(given.get("low"), given.get("high"), unit)
    return wording.value(given.get("value"), unit) + (f" ({between})" if between else "")


def _training(run: RunStory | None) -> str:
    if run is None:
        return "Not known: the evaluation was made from predictions alone."
    rows = []
    for stage in run.stages:
        gate = "none"
        if stage.gate is not None:
            word = "passed" if stage.gate.passed else "missed"
            gate = f"{word}: {stage.gate.metric} {stage.gate.value:.3f}, needs {stage.gate.at_least:g}"
        rows.append(
            [
                f"{stage.number} {stage.name}",
                stage.kind,
                ", ".join(stage.rewards_asked) or "none",
                wording.count(stage.last_step),
                wording.duration(stage.seconds) if stage.finished else "not finished",
                gate,
            ]
        )
    parts = [
        _table(("Stage", "Kind", "Rewards", "Steps", "Time", "Gate"), rows, (1, 2, 5))
        if rows
        else "The recipe has no stages."
    ]
    parts += [_points(run.missing)] if run.missing else []
    return "\n\n".join(parts)


def _versions(document: Mapping[str, Any], run: RunStory | None) -> str:
    taxonomy, given = document.get("taxonomy") or {}, document.get("input") or {}
    lines = []
    if taxonomy:
        words = f"taxonomy {taxonomy.get('name')} {taxonomy.get('version')}"
        words += f", {wording.count(taxonomy.get('labels'))} labels"
        lines.append(f"{words}: {taxonomy.get('note') or 'no note'}")
    if given.get("sha256"):
        lines.append(f"predictions: SHA-256 {given['sha256']}")
    if run is not None and run.digest:
        lines.append(f"recipe: SHA-256 {run.digest}")
    found = {
        "evaluation": document.get("versions") or {},
        "training": run.environment if run is not None else {},
    }
    for words, versions in found.items():
        packages = versions.get("packages") or {}
        named = [f"{name} {version}" for name, version in packages.items()]
        named = [f"Python {versions['python']}", *named] if versions.get("python") else named
        if named:
            lines.append(f"{words}: {', '.join(named)}")
    return _points(lines) if lines else "No versions are recorded."


def _heading(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _points(items: Iterable[str]) -> str:
    return "\n".join(f"- {_text(item)}" for item in items)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = ()) -> str:
    """A table whose columns are numbers, but for the first and those in `words`."""
    lines = [heads, *rows]
    drawn = ["| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines]
    drawn.insert(1, "|" + "".join("---|" if at in (0, *words) else "---:|" for at in range(len(heads))))
    return "\n".join(drawn)


def _text(words: str) -> str:
    """Foreign words that Markdown takes as plain text, in one line."""
    line = html.escape(wording.shortened(words, 400), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", line)


def _code(words: str) -> str:
    return wording.shortened(words).replace("`", "'")


def _in_lines(value: Any) -> Any:
    """The same document with its text in one line each: a line `---` inside would end the front matter."""
    if isinstance(value, str):
        return wording.shortened(value, 400)
    if isinstance(value, Mapping):
        return {_in_lines(key): _in_lines(each) for key, each in value.items()}
    return [_in_lines(each) for each in value] if isinstance(value, list) else value

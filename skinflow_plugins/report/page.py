"""The report as one HTML page that holds everything it shows: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinflow_plugins.report import limits
from skinflow_plugins.report.blocks import Block, Heading, Points, Says, Section
from skinflow_plugins.report.run_story import RunStory
from skinflow_plugins.report.wording import visible

NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    document: Mapping[str, Any] | None, out: Path, *, run: RunStory | None = None, images: Path | None = None
) -> Path:
    """The path of the page that was written: `out`, or report.html in it when it is no .html file.

    `document` is what `Report.as_dict` gives; None or an empty one when there is only a run. Relative
    paths of example images are looked up in `images`, by default the current folder.
    """
    path = out if out.suffix.lower() in (".html", ".htm") else out / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page(document, run=run, images=images), encoding="utf-8", newline="\n")
    partial.replace(path)
    return path


def page(
    document: Mapping[str, Any] | None, *, run: RunStory | None = None, images: Path | None = None
) -> str:
    """The page as text; equal input gives equal bytes."""
    given = document or {}
    found = sections(given, run, images or Path())
    name = str(given.get("name") or (run.name if run is not None else "not named"))
    return str(
        _environment().get_template("report.html").render(
            name=name, sections=found, banner=limits.BANNER, warning=limits.WARNING
        )
    )  # fmt: skip


def sections(document: Mapping[str, Any], run: RunStory | None, images: Path) -> list[Section]:
    """The sections in their order; without an evaluation only those that are about the run."""
    from skinflow_plugins.report import part_accuracy, part_answers, part_gallery, part_safety
    from skinflow_plugins.report.figures import read_figures
    from skinflow_plugins.report.part_rewards import rewards
    from skinflow_plugins.report.part_run import training
    from skinflow_plugins.report.part_skin_tone import skin_tone
    from skinflow_plugins.report.part_summary import depth, summary

    figures = read_figures(document)
    k = depth(document, figures)
    first = summary(document, figures, run)
    watched = rewards(run) if run is not None else []
    last = [part_answers.versions(document, run), use(document)]
    if not document:
        return [first, training(run, figures), *watched, *last]
    return [
        first,
        part_accuracy.top_k(figures),
        part_safety.safety(figures),
        part_safety.confusion(document),
        skin_tone(document, figures, k),
        part_accuracy.hierarchy(figures),
        part_accuracy.calibration(document, figures),
        part_accuracy.all_figures(document, figures),
        part_accuracy.labels(document, k),
        training(run, figures),
        *watched,
        part_gallery.gallery(document, images),
        part_answers.unmatched(document),
        part_answers.accounting(document),
        part_accuracy.baselines(figures),
        *last,
    ]


def use(document: Mapping[str, Any]) -> Section:
    """What the model may be used for, and what the figures do not say."""
    blocks: list[Block] = [
        Says(f"{limits.BANNER} {limits.WARNING}", "bad"),
        Heading("Intended for"),
        Points(limits.INTENDED),
        Heading("Not intended for"),
        Points(limits.NOT_INTENDED),
        Heading("Limits"),
        Points(limits.limits(document)),
    ]
    return Section("use", "Intended use and limits", "", blocks, "Use and limits")


def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        """The value, with letters made visible that would break the file or turn its text round."""
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Any:
    """The text as HTML, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = [escape(visible(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:
        return escape(visible(text))
    marked = (Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))
    return Markup("").join(marked)

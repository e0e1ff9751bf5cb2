"""Everything that a report leaves in its folder: JSON, page and model card, and the versions behind them."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.errors import InputError, Problem

if TYPE_CHECKING:
    from skinflow_plugins.report.run_story import RunStory

FILES = ("report.json", "report.html", "model_card.md", "verdicts.jsonl")
PACKAGES = (
    "skinflow-plugins",
    "numpy",
    "rapidfuzz",
    "matplotlib",
    "jinja2",
    "ms-swift",
    "transformers",
    "torch",
)


def check_folder(folder: Path, *, force: bool = False) -> None:
    """Refuse a folder that cannot hold a report, or that holds one already, unless forced."""
    if folder.exists() and not folder.is_dir():
        raise InputError(Problem("is a file, not a folder", str(folder), hint="choose another with -o"))
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise InputError(
            Problem(
                f"holds {', '.join(there)} already",
                str(folder),
                hint="choose another folder with -o, or write over it with --force; nothing was touched",
            )
        )


def versions() -> dict[str, Any]:
    """Python and the packages that figures and page depend on, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"python": platform.python_version(), "packages": found}


def digest_of(file: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_report(
    document: Mapping[str, Any] | None,
    folder: Path,
    *,
    run: RunStory | None = None,
    images: Path | None = None,
) -> list[Path]:
    """Write the files of a report and return their paths; JSON only where there is an evaluation.

    With a run, the JSON holds as `training` what the page tells of its rewards.
    """
    from skinflow_plugins.report.model_card import model_card
    from skinflow_plugins.report.page import write_page
    from skinflow_plugins.report.run_facts import training_facts

    if document and run is not None and (facts := training_facts(run)):
        document = {**document, "training": facts}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    path = folder / "report.json"
    if not document:
        path.unlink(missing_ok=True)  # of an earlier report here: it would contradict the page
    else:
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8", errors="replace")
        written.append(path)
    written.append(write_page(document or {}, folder, run=run, images=images))
    card = folder / "model_card.md"
    card.write_text(model_card(document or {}, run), encoding="utf-8", errors="replace")
    return [*written, card]

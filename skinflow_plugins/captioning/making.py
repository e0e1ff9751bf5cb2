"""The work of `skinflow data caption`: rows in, captions and a sheet for review out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from skinflow_plugins.captioning import folder as names
from skinflow_plugins.captioning import outputs
from skinflow_plugins.captioning.account import account
from skinflow_plugins.captioning.asking import Asker
from skinflow_plugins.captioning.folder import Folder
from skinflow_plugins.captioning.gate import Gate
from skinflow_plugins.captioning.journal import Journal
from skinflow_plugins.captioning.merge import Merged, decisions
from skinflow_plugins.captioning.outputs import Layout, Provenance
from skinflow_plugins.captioning.rows import Row, Rows, read_rows
from skinflow_plugins.captioning.settings import check_gate, identity, provenance
from skinflow_plugins.captioning.sheet import read_sheet, write_sheet
from skinflow_plugins.captioning.tries import History, histories
from skinflow_plugins.captioning.work import Work
from skinflow_plugins.data.verify import at_most
from skinflow_plugins.diagnosis.load import load_taxonomy
from skinflow_plugins.diagnosis.taxonomy import Taxonomy
from skinflow_plugins.errors import InputError, Problem, WorkFailed
from skinflow_plugins.judging.settings import Judge

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Source:
    """The user's file and how it is read; all of it stands in the manifest, so that a merge reads alike.

    `taxonomy` is a built-in name or a file, `held_out` the files of the other splits, by split. Without
    `split` the captions do not name their split.
    """

    file: Path
    taxonomy: str
    images: Path | None = None
    held_out: Mapping[str, Path] | None = None
    replace: bool = False
    skip_bad_rows: bool = False
    split: bool = True

    def rows(self, taxonomy: Taxonomy) -> Rows:
        return read_rows(
            self.file,
            taxonomy,
            images=self.images,
            held_out=self.held_out,
            replace=self.replace,
            skip_bad_rows=self.skip_bad_rows,
        )

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self)
        found["file"] = str(self.file.resolve())
        found["images"] = str(self.images.resolve()) if self.images else None
        found["held_out"] = {
            split: str(Path(file).resolve()) for split, file in (self.held_out or {}).items()
        }
        return found

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> Source:
        held_out = {split: Path(file) for split, file in found["held_out"].items()}
        images = Path(found["images"]) if found["images"] else None
        return Source(**{**found, "file": Path(found["file"]), "images": images, "held_out": held_out})


def make_captions(
    source: Source,
    gate: Gate,
    captioner: Judge,
    judge: Judge,
    path: Path,
    *,
    limit: int | None = None,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Caption what is left of the source's rows into the folder `path`; the report (see `account`).

    The files of the folder are written whatever ends the work. Raises `InputError` for mistakes in the input
    and for a folder that belongs to other data or settings, `WorkFailed` when the servers fail too often.
    """
    check_gate(gate, captioner, judge)
    folder, begun = Folder(path), identity(gate, captioner, judge)
    folder.check(begun)
    say(f"reading {source.file} and its images")
    read = source.rows(gate.taxonomy)
    made = provenance(gate, captioner, judge)
    facts = {
        "input": {**source.as_dict(), "sha256": read.sha256, "rows": len(read)},
        "prompts": {"describe": asdict(gate.describe), "recover": asdict(gate.recover)},
        "provenance": asdict(made),
        "versions": _versions(),
    }
    with Journal(path) as journal:
        if journal.events and not folder.manifest:
            message = f"has a journal and no {names.MANIFEST}: how it was begun is not known"
            raise InputError(
                Problem(message, str(path), hint="restore the manifest, or choose another folder")
            )
        folder.claim(begun, facts)
        pasts = _pasts(journal, read)
        folder.refuse_changed()
        run = 1 + sum(event["event"] == "run" for event in journal.events)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        addresses = {"captioner": captioner.endpoint, "judge": judge.endpoint}
        journal.add("run", {"run": run, "started": started, **addresses})
        work = Work(
            gate, Asker(captioner), Asker(judge), journal, pasts, run,
            concurrency=captioner.concurrency, failure_share=judge.failure_share, say=say,
        )  # fmt: skip
        todo = work.todo(read.rows, limit)
        say(_begun(read, pasts, todo, gate.tries))
        try:
            if todo:
                asyncio.run(work.ask_all(todo))
        finally:
            journal.keep()
            report = _write(
                folder, journal, read, pasts, gate.taxonomy, gate.fields, gate.tries, made, source
            )
    return report


def merge_review(sheet: Path, path: Path, *, overrule: bool = False) -> tuple[Merged, dict[str, Any]]:
    """Take an expert's decisions into the folder `path`; what was merged, and the report.

    Raises `InputError` with every mistake and conflict in the sheet; then nothing is changed.
    """
    if not sheet.is_file():
        raise InputError(Problem("there is no such file", str(sheet), hint="name the edited review.csv"))
    folder = Folder(path)
    manifest = folder.read()
    if manifest is None:
        message = "holds no captions of `skinflow data caption`"
        raise InputError(Problem(message, str(path), hint="name the folder of the captions with -o"))
    begun = manifest["identity"]
    source = Source.from_dict(
        {k: v for k, v in manifest["input"].items() if k in Source.__dataclass_fields__}
    )
    taxonomy = load_taxonomy(source.taxonomy)
    fields = {name: tuple(values) for name, values in begun["fields"].items()}
    content = sheet.read_bytes()
    lines = read_sheet(sheet, fields)
    with Journal(path) as journal:
        read = source.rows(taxonomy)
        pasts = _pasts(journal, read)
        merged = decisions(lines, read.rows, pasts, begun["tries"], taxonomy, sheet, overrule=overrule)
        for event in merged.events:
            journal.add("decision", event)
        journal.keep()
        pasts = _pasts(journal, read)
        if sheet.resolve() == (path / names.SHEET).resolve():
            folder.remember(names.SHEET, content)  # its decisions are safe: it may be written anew
        made = Provenance(**manifest["provenance"])
        report = _write(folder, journal, read, pasts, taxonomy, fields, begun["tries"], made, source)
    return merged, report


def _pasts(journal: Journal, read: Rows) -> dict[str, History]:
    """The histories of the journal, each of a row that is still as it was."""
    try:
        pasts = histories(journal.events)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(Problem(f"cannot be read: {error}", str(journal.path))) from error
    rows = {row.id: row for row in read.rows}
    problems = []
    for id, history in pasts.items():
        row = rows.get(id)
        if row is None:
            problems.append(Problem(f"the row {id!r} was asked before and is not among the rows now"))
        elif (row.sha256, row.diagnosis) != (history.sha256, history.diagnosis):
            what = "diagnosis" if row.diagnosis != history.diagnosis else "image"
            problems.append(Problem(f"the {what} of {id!r} has changed", str(read.file), row.line))
    if problems:
        hint = "captions of changed data go into another folder (-o); rows may only be added"
        problems[0] = Problem(problems[0].message, str(read.file), problems[0].line, hint=hint)
        raise InputError(at_most(problems))
    return pasts


def _begun(read: Rows, pasts: Mapping[str, History], todo: Sequence[Row], tries: int) -> str:
    done = sum(row.id in pasts and pasts[row.id].status(tries) in ("accepted", "review") for row in read.rows)
    return (
        f"{len(read)} rows in {read.file.name}: {len(read.left_out)} left out, {done} done before, "
        f"{len(todo)} to ask now"
    )


def _write(
    folder: Folder,
    journal: Journal,
    read: Rows,
    pasts: Mapping[str, History],
    taxonomy: Taxonomy,
    fields: Mapping[str, Sequence[str]],
    tries: int,
    made: Provenance,
    source: Source,
) -> dict[str, Any]:
    """Write every file of the folder that follows from rows and histories; the report."""
    layout = Layout(folder.path, source.images, source.split)
    captions = [
        caption_row
        for row in read.rows
        if row.id in pasts and (caption_row := outputs.caption_row(row, pasts[row.id], layout, made))
    ]
    review = outputs.of_status(read.rows, pasts, tries, "review")
    failed = outputs.of_status(read.rows, pasts, tries, "failed")
    report = account(read, pasts, tries, taxonomy, journal.events)
    content = {
        names.CAPTIONS: outputs.lines(captions),
        names.REVIEW: outputs.lines(outputs.review_row(*each, layout) for each in review),
        names.SHEET: write_sheet(review, fields, layout),
        names.FAILED: outputs.lines(outputs.failed_row(*each) for each in failed),
        names.LEFT_OUT: outputs.lines(map(outputs.left_out_row, read.left_out)),
        names.REPORT: (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    changed = [name for name in (names.CAPTIONS, names.REVIEW, names.SHEET) if folder.changed(name)]
    for name, data in content.items():
        if name not in changed:
            folder.write(name, data)
    if changed:
        raise WorkFailed(
            f"{', '.join(str(folder.path / name) for name in changed)} changed meanwhile and was not written "
            "over; the journal holds all results: merge or move the file, and give the command again"
        )
    return report


def _versions() -> dict[str, str]:
    found = {}
    for name in ("skinflow-plugins", "openai", "pillow", "rapidfuzz"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

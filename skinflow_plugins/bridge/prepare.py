"""Write what a plan needs before anything is trained: records, rows, the base model, swift's YAML files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge.record_checks import check_records
from skinflow_plugins.bridge.settings import settings_of
from skinflow_plugins.bridge.stage_rows import evaluated, evaluation_rows, stage_rows, vocabulary
from skinflow_plugins.bridge.swift_yaml import stage_yaml, whole_plan
from skinflow_plugins.catalogue import Catalogue
from skinflow_plugins.data.record import Record
from skinflow_plugins.data.rows import permute_images
from skinflow_plugins.data.verify import check_groups, verify_images
from skinflow_plugins.errors import InputError, Problem, SkinflowError
from skinflow_plugins.recipe.families import TINY
from skinflow_plugins.recipe.load import filled_options
from skinflow_plugins.recipe.plan import Plan, tiny_path
from skinflow_plugins.recipe.schema import Recipe

Say = Callable[[str], None]


def read_records(recipe: Recipe, catalogue: Catalogue, root: Path) -> list[Record]:
    """All records of the recipe's data source; images that it draws go below `root/records`.

    Raises `InputError` naming every missing or truncated image, every group in two splits, labels and caption
    values that nobody could match, missing columns, and empty data.
    """
    records = source_records(recipe, catalogue, root)
    problems = [
        *verify_images(records),
        *check_groups(records),
        *check_records(recipe, catalogue, records),
    ]
    if not any(record.split == "train" for record in records):
        problems.append(Problem(f"the source {recipe.data.source} gave no training records", path="data"))
    if recipe.eval.limit != 0 and not any(record.split == recipe.eval.split for record in records):
        problems.append(
            Problem(
                f"the source {recipe.data.source} gave no records of the {recipe.eval.split} split",
                path="eval.split",
            )
        )
    if not any(record.split == "validation" for record in records):
        for key, what in (("gate", "a gate"), ("evaluate", "`evaluate`")):
            if any(getattr(stage, key) for stage in recipe.stages):
                problems.append(Problem(f"{what} needs validation records, and there are none", path="data"))
    if problems:
        raise InputError(problems)
    return [_with_schema(recipe, record) for record in records]


def source_records(recipe: Recipe, catalogue: Catalogue, root: Path) -> list[Record]:
    """What the recipe's data source gives, unchecked; `InputError` when it fails."""
    source = catalogue.get("datasets", recipe.data.source)
    try:
        return list(source(root / "records", **filled_options(recipe, source, recipe.data.options)))
    except SkinflowError:
        raise
    except Exception as error:  # a third party's source may fail in any way
        message = f"the source {recipe.data.source!r} failed: {type(error).__name__}: {error}"
        raise InputError(Problem(message, path="data")) from error


def _with_schema(recipe: Recipe, record: Record) -> Record:
    """The record with the caption fields that the recipe asks for; a source may know more of them."""
    caption = {name: record.caption[name] for name in recipe.captions if name in record.caption}
    return dataclasses.replace(record, caption=caption)


def write_plan(plan: Plan, records: Sequence[Record]) -> None:
    """Write the YAML, settings and row files of every stage below the plan's root."""
    root = Path(plan.root)
    for stage in plan.stages:
        write_rows(root / "data" / f"{stage.slug}.jsonl", stage_rows(plan.recipe, stage, records))
        if stage.evaluation is not None:
            chosen = evaluated(plan.recipe, stage.stage, records)
            for task, file in stage.evaluation.questions.items():
                write_rows(Path(file), evaluation_rows(plan.recipe, task, chosen))
        write_text(root / f"{stage.slug}.yaml", stage_yaml(plan, stage))
        write_text(Path(stage.environment["SKINFLOW_STAGE"]), settings_of(plan, stage).to_json())
    write_text(root / "plan.txt", whole_plan(plan))


def write_base(plan: Plan, catalogue: Catalogue, records: Sequence[Record], say: Say = print) -> None:
    """Build or graft the model of the first stage, when the recipe does not name a finished one.

    What is there already, from an earlier call, stays as it is.
    """
    recipe = plan.recipe
    source: str | Path = recipe.model.base
    if recipe.model.base.startswith(TINY):
        source = Path(tiny_path(recipe, plan.root))
        if not (source / "config.json").is_file():
            from skinflow_plugins.models.tiny import build_tiny

            words = vocabulary(recipe, records)
            build_tiny(plan.family.name, source, vocabulary=words, **recipe.model.options)
    out = Path(plan.base)
    if recipe.model.vision.encoder == "base" or (out / "config.json").is_file():
        return
    encoder = catalogue.get("vision_encoders", recipe.model.vision.encoder)
    options = filled_options(recipe, encoder, recipe.model.vision.options)
    report = encoder(source, out, plan.family, **options)
    if hasattr(report, "summary"):
        say(report.summary())


def write_evaluation(plan: Plan, records: Sequence[Record]) -> dict[tuple[str, str], Path]:
    """Write the questions that are asked after each stage; returns their files by (task, split).

    The split `permuted` is the evaluation split with images exchanged among its records.
    """
    recipe, root = plan.recipe, Path(plan.root)
    chosen: dict[str, list[Record]] = {recipe.eval.split: _split(recipe, records, recipe.eval.split)}
    if recipe.eval.permuted and len(chosen[recipe.eval.split]) > 1:
        chosen["permuted"] = permute_images(chosen[recipe.eval.split], recipe.seed)
    if any(stage.gate for stage in recipe.stages):
        chosen["validation"] = _split(recipe, records, "validation")
    files: dict[tuple[str, str], Path] = {}
    for split, part in chosen.items():
        for task in recipe.tasks:
            files[task, split] = root / "data" / f"eval-{task}-{split}.jsonl"
            write_rows(files[task, split], evaluation_rows(recipe, task, part))
    return files


def _split(recipe: Recipe, records: Sequence[Record], split: str) -> list[Record]:
    found = [record for record in records if record.split == split]
    return found[: recipe.eval.limit] if split == recipe.eval.split else found


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines; `InputError` when other rows stand there: the data has changed meanwhile."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            Problem(
                "the data has changed since this run began, and its stages have seen the old",
                where=str(path),
                hint="choose another folder with -o, or bring the old data back; nothing was touched",
            )
        )
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, and leave it alone when it already says the same."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)

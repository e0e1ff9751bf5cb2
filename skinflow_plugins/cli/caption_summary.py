"""What `skinflow data caption` prints at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinflow_plugins.captioning.account import UNKNOWN, dropped
from skinflow_plugins.cli.table import columns


def spoken(report: Mapping[str, Any], folder: Path, currencies: Mapping[str, str]) -> list[str]:
    """The report as lines: counts that add up, tries, groups, and what to do next.

    `currencies` are those of the prices of captioner and judge.
    """
    rows, review = report["rows"], report["review"]
    parts = ", ".join(f"{rows[name]} {name.replace('_', ' ')}" for name in list(rows)[1:])
    lines = [f"{rows['input']} rows: {parts}"]
    lines += [f"  left out: {number} {reason}" for reason, number in report["left_out"].items()]
    if report["recovered"] is not None:
        at = ", ".join(f"{number} at try {n}" for n, number in report["accepted_at"].items() if number)
        judged = rows["accepted"] + rows["review"]
        share = f"{report['recovered']:.3f} of {judged} rows with a verdict"
        if report["by_chance"] is not None:
            share += f"; captions of other images would reach {report['by_chance']:.3f}"
        lines.append(f"diagnosis recovered: {share}" + (f" ({at})" if at else ""))
    tried = ", ".join(f"{number} {name}" for name, number in report["outcomes"].items() if number)
    lines.append(f"tries: {tried or 'none'}; {report['repeated']} repeated an earlier caption word for word")
    lines += [f"  failed: {number} {kind}" for kind, number in report["failures"].items()]
    for title, groups in report["groups"].items():
        named = [group for group in groups if group["name"] != UNKNOWN]
        if named:
            head = (
                title.replace("_", " "),
                "recovered",
                "by chance",
                "rows",
                "accepted",
                "review",
                "failed",
                "waiting",
                "expert",
            )
            table: list[tuple[str, ...]] = [head]
            for group in groups:
                shares = (_share(group["recovered"]), _share(group["by_chance"]))
                table.append((group["name"], *shares, *(str(group[name]) for name in head[3:])))
            lines += ["", columns(table)]
    lines.append("")
    if lost := dropped(report):
        lines.append(f"note: no caption at all of {', '.join(lost)}: Stage I would never see them")
    for who, used in report["usage"].items():
        if used:
            cost = f", {used['cost']:.4g} {currencies.get(who, '')}" if used.get("cost") else ""
            lines.append(f"{who}: {used['calls']} calls, {used.get('hits', 0)} kept answers, "
                         f"{used['prompt_tokens']} + {used['completion_tokens']} tokens{cost}")  # fmt: skip
    lines.append(f"{report['captions']} captions: {folder / 'captions.jsonl'}")
    if review["undecided"]:
        sheet = folder / "review.csv"
        command = f"skinflow data caption --merge-review {sheet}"
        lines.append(f"{review['undecided']} rows for an expert: {sheet}; then {command}")
    if rows["failed"] or rows["waiting"]:
        lines.append(f"{rows['failed'] + rows['waiting']} rows are not done: the same command goes on")
    return lines


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"

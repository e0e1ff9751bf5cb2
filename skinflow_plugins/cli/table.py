"""Tables of results: by rich on a terminal, as Markdown in a file or a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skinflow_plugins.bridge.results import Row
    from skinflow_plugins.recipe.schema import Recipe


def show_results(recipe: Recipe, rows: Sequence[Row]) -> None:
    """Print the table of one run, and what each kind of row means."""
    from skinflow_plugins.bridge.results import as_markdown, heading, number

    print()
    if not sys.stdout.isatty():
        print(as_markdown(recipe, rows))
    else:
        names = metrics_of(rows)
        title = f"{recipe.name}, seed {recipe.seed}: {recipe.eval.split} split, greedy decoding"
        cells = [
            [row.name, str(row.records), *(number(name, row.metrics.get(name)) for name in names)]
            for row in rows
        ]
        show(title, ["", "records", *(heading(recipe, name) for name in names)], cells)
    print("\n".join(explained(recipe, [row.name for row in rows])))


def show_seeds(recipe: Recipe, by_seed: Mapping[int, Sequence[Row]]) -> None:
    """Print the joined table of several seeds."""
    print()
    if not sys.stdout.isatty():
        print(seeds_markdown(recipe, by_seed))
    else:
        title, heads, cells = _joined(recipe, by_seed)
        show(title, heads, cells)
    names = list(dict.fromkeys(row.name for rows in by_seed.values() for row in rows))
    print("\n".join(explained(recipe, names)))


def seeds_markdown(recipe: Recipe, by_seed: Mapping[int, Sequence[Row]]) -> str:
    """The joined table as Markdown: in each cell the mean, then the value of each seed."""
    title, heads, cells = _joined(recipe, by_seed)
    lines = [title, "", "| | " + " | ".join(heads[1:]) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join(lines) + "\n"


def _joined(recipe: Recipe, by_seed: Mapping[int, Sequence[Row]]) -> tuple[str, list[str], list[list[str]]]:
    from skinflow_plugins.bridge.results import heading, number

    seeds = ", ".join(map(str, by_seed))
    title = f"{recipe.name}, {recipe.eval.split} split, greedy decoding: mean (seeds {seeds})"
    tables = [{row.name: row for row in rows} for rows in by_seed.values()]
    metrics = list(dict.fromkeys(name for rows in by_seed.values() for name in metrics_of(rows)))
    cells = []
    for name in dict.fromkeys(name for table in tables for name in table):
        there = [table[name] for table in tables if name in table]
        line = [name, str(max(row.records for row in there))]
        for metric in metrics:
            values = [table[name].metrics.get(metric) if name in table else None for table in tables]
            known = [value for value in values if value is not None]
            if not known:
                line.append(number(metric, None))
                continue
            mean = sum(known) / len(known)
            shown = f"{mean:.1f}" if metric.startswith("distinct") else number(metric, mean)
            line.append(f"{shown} ({', '.join(number(metric, value) for value in values)})")
        cells.append(line)
    return title, ["", "records", *(heading(recipe, metric) for metric in metrics)], cells


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Every metric of the rows, once, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def explained(recipe: Recipe, names: Sequence[str]) -> list[str]:
    """One sentence for each kind of row that stands among `names`."""
    from skinflow_plugins.bridge.results import CONSTANT, PERMUTED

    kinds = {f"after {stage.name}": stage.kind for stage in recipe.stages}
    there = {kinds.get(name) for name in names}
    lines = []
    if "sft" in there:
        lines.append("After an sft stage: what its examples taught, before any reward.")
    if "grpo" in there:
        lines.append("After a grpo stage: the same questions again, once its rewards have been at work.")
    if CONSTANT in names:
        lines.append("Best constant answer: what one and the same answer to every image would reach here.")
    if any(PERMUTED in name for name in names):
        lines.append(
            "Permuted images: the last model again, with the images exchanged among the questions; what is "
            "left does not come from looking."
        )
    return lines


def show(title: str, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print a table on a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for position, head in enumerate(heads):
        table.add_column(head, justify="left" if position == 0 else "right")
    for row in cells:
        table.add_row(*row)
    # Not rich's own width: it reads COLUMNS from an os.environ that `datasets` replaces by a copy.
    Console(width=shutil.get_terminal_size().columns).print(table)


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows of text as aligned columns; the last one is never padded."""
    if not rows:
        return ""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    lines = (
        indent + "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    )
    return "\n".join(lines)

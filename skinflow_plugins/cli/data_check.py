"""`skinflow data check`: read all data of a recipe, decode every image, and count."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from skinflow_plugins.cli import data_caption
from skinflow_plugins.cli.parser import add_verb
from skinflow_plugins.cli.recipe_arguments import add_recipe, read

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs
    from skinflow_plugins.data.record import Record

DESCRIPTION = """\
Looks for images that are missing or damaged, ids that occur twice, patients or lesions that stand in two
splits, caption fields that no record has, and empty splits. Images that a source draws go to a temporary
folder."""
UNKNOWN = "(not known)"


def add(verbs: Verbs) -> None:
    """Add `data` to the verbs, with `check` and `caption` below it."""
    data = add_verb(verbs, "data", "check a recipe's data, or caption images for Stage I", None)
    inner = data.add_subparsers(dest="inner", metavar="VERB", required=True)
    parser = add_verb(
        inner, "check", "read all data of a recipe, decode every image, and count", do, DESCRIPTION
    )
    add_recipe(parser)
    data_caption.add(inner)


def do(arguments: argparse.Namespace) -> int:
    """Print the counts, then 0; an `InputError` with every problem of the data."""
    from skinflow_plugins.bridge.prepare import read_records
    from skinflow_plugins.errors import InputError

    loaded, known = read(arguments)
    recipe = loaded.recipe
    with tempfile.TemporaryDirectory(prefix="skinflow-data-") as folder:
        try:
            records = read_records(recipe, known, Path(folder))
        except InputError:
            # The counts help to understand the problems, where the source can be read at all.
            source = known.get("datasets", recipe.data.source)
            print(counted(list(source(Path(folder) / "records", **recipe.data.options))), flush=True)
            raise
    print(counted(records))
    print(f"\nok: {len(records)} records; every image decodes, and no group stands in two splits")
    return 0


def counted(records: Sequence[Record]) -> str:
    """Tables of counts by split: all records, then by diagnosis and by skin tone."""
    from skinflow_plugins.cli.table import columns
    from skinflow_plugins.data.record import SPLITS

    splits = [split for split in SPLITS if any(record.split == split for record in records)]
    groups = {
        split: {r.group for r in records if r.split == split and r.group is not None} for split in splits
    }
    rows: list[Sequence[str]] = [("", *splits, "all")]
    rows.append(("records", *(str(sum(r.split == s for r in records)) for s in splits), str(len(records))))
    if any(groups.values()):
        distinct = str(len(set().union(*groups.values())))
        rows.append(("patients or lesions", *(str(len(groups[split])) for split in splits), distinct))
    for title, value in (("diagnosis", "diagnosis"), ("skin tone", "skin_tone")):
        found = [(record.split, getattr(record, value) or UNKNOWN) for record in records]
        count, total = Counter(found), Counter(name for _, name in found)
        if set(total) == {UNKNOWN}:
            rows.append((f"{title}: not known", *("" for _ in splits), ""))
            continue
        rows.append((title, *("" for _ in splits), ""))
        for name in sorted(total):
            rows.append((f"  {name}", *(str(count[split, name]) for split in splits), str(total[name])))
    return columns(rows)

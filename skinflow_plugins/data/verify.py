"""Whether records can be used: every image decodes, ids are unique, and no group stands in two splits."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from skinflow_plugins.data.record import Record
from skinflow_plugins.errors import Problem

MOST_PROBLEMS = 20


def at_most(problems: Sequence[Problem], most: int = MOST_PROBLEMS) -> list[Problem]:
    """The first `most` problems, and one more that says how many are left out."""
    if len(problems) <= most:
        return list(problems)
    return [*problems[:most], Problem(f"and {len(problems) - most} more problems like these")]


def verify_images(records: Iterable[Record], *, threads: int | None = None) -> list[Problem]:
    """Images that are missing or do not decode to the last pixel, at most 20 of them and a count of the rest.

    An image that several records share is read once.
    """
    owners: dict[str, list[str]] = defaultdict(list)
    for record in records:
        owners[record.image].append(record.id)
    with ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        faults = list(pool.map(_fault, owners))
    problems = []
    for (image, ids), fault in zip(owners.items(), faults, strict=True):
        if fault:
            more = f" and {len(ids) - 1} more records" if len(ids) > 1 else ""
            problems.append(Problem(f"{fault} (record {ids[0]!r}{more})", where=image))
    return at_most(problems)


def _fault(image: str) -> str | None:
    """What is wrong with an image file, or None."""
    from PIL import Image

    if not Path(image).is_file():
        return "there is no such image file"
    if not Path(image).stat().st_size:
        return "the image file is empty"
    try:
        with Image.open(image) as opened:
            opened.load()
    except Exception as error:  # Pillow's decoders raise nearly everything on broken data
        reason = str(error).replace(repr(image), "the file") or type(error).__name__
        return f"the image does not decode: {reason}"
    return None


def check_groups(records: Iterable[Record]) -> list[Problem]:
    """Ids that occur twice, and groups or images that stand in more than one split; at most 20."""
    seen: dict[str, int] = defaultdict(int)
    splits: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for record in records:
        seen[record.id] += 1
        splits["image", record.image].setdefault(record.split, record.id)
        if record.group is not None:
            splits["group", record.group].setdefault(record.split, record.id)
    problems = [
        Problem(f"the id {id!r} occurs {count} times; expected once")
        for id, count in seen.items()
        if count > 1
    ]
    for (kind, name), firsts in splits.items():
        if len(firsts) > 1:
            places = ", ".join(f"{split} (record {id!r})" for split, id in firsts.items())
            problems.append(
                Problem(f"the {kind} {name!r} is in {len(firsts)} splits: {places}; expected one")
            )
    return at_most(problems)

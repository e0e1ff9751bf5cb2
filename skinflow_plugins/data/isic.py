"""Dermoscopy pictures of the ISIC archive's set UDA-1: nevus or melanoma, CC0."""

from __future__ import annotations

import csv
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinflow_plugins.data.record import Head, Record
from skinflow_plugins.data.verify import at_most, verify_images
from skinflow_plugins.declare import dataset
from skinflow_plugins.errors import InputError, Problem, nearest

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

NAMES: Mapping[str, str] = {"nevus": "Nevus", "melanoma": "Melanoma, NOS"}
"""UDA-1's words and the names of the same concepts in the ISIC archive's diagnosis tree.

UDA-1 does not say whether a melanoma is invasive or in situ, hence "not otherwise specified".
"""

SHARES = {"test": 0.25, "validation": 0.15}  # the rest is train
SAME_PICTURE = 0.98  # correlation of thumbnails; the most alike different lesions of UDA-1 have .96
THUMBNAIL = 24
SAME_LESION = (("ISIC_0000450", "ISIC_0000519"),)
"""Two photographs of one lesion, turned and under other light. Found by correlating the fine structure of all
pairs over shifts, turns by 15 degrees and three scales; no other of the 40 most alike pairs was one, by eye.
"""
NEEDED = ("isic_id", "diagnosis")
HEAD_ROWS = 50
HOW_TO_GET = (
    "download ISIC_0000000 to ISIC_0000555 (set UDA-1, CC0) from https://www.isic-archive.com: images to "
    "448px/ISIC_*.jpg, and beside that folder metadata.csv with the columns isic_id, diagnosis (nevus or "
    "melanoma), age_approx, sex"
)


def _head(options: Mapping[str, Any]) -> Head:
    problems: list[Problem] = []
    rows = _rows(Path(options["root"]), problems) if "root" in options else []
    problems += _option_problems(options.get("size", 56), options.get("seed", 0))
    files = (_image(Path(options["root"]), row["isic_id"]) for row in rows[:HEAD_ROWS])
    problems += _missing(files)
    columns = {"id", "diagnosis", "group"} if rows else set()
    for name in ("age_approx", "sex"):
        if rows and all(row.get(name) for row in rows):
            columns.add(name)
    return Head(frozenset(columns), tuple(str(p) for p in at_most(problems)))


@dataset("isic_uda1", head=_head)
def isic_uda1(work: Path, *, root: Path, size: int | None = 56, seed: int = 0) -> Iterator[Record]:
    """Real dermoscopy pictures of ISIC's UDA-1: 396 nevi and 158 melanomas (CC0), from your own copy.

    `root` holds metadata.csv and 448px/*.jpg; rows without a diagnosis are left out. The middle square of
    each picture is scaled to `size` pixels and written below `work`; `null` leaves the pictures as they are.

    Split about 60 / 15 / 25 % by a hash of `seed` and id, with the same share of melanomas in each.
    What is certain: copies of one picture (re-encoded, scaled, turned by right angles or mirrored) are one
    group and stay in one split, and so does the one lesion found that was photographed twice (450 and 519).
    What is not: the archive gives no patient and no lesion for these pictures, so that further photographs
    of one lesion, and lesions of one patient, can stand in two splits, and results may be too good.
    Melanomas were all confirmed by histopathology, nevi were not, and the pictures come from several devices.
    Raises `InputError` that lists everything missing at once.
    """
    root, work = Path(root).resolve(), Path(work).resolve()
    problems: list[Problem] = []
    rows = _rows(root, problems)
    problems += _option_problems(size, seed)
    images = [_image(root, row["isic_id"]) for row in rows]
    problems += _missing(images)
    if problems:
        raise InputError(at_most(problems))
    return _records(work, rows, images, size, seed)


def _option_problems(size: int | None, seed: int) -> list[Problem]:
    found = []
    if size is not None and size < 8:
        found.append(
            Problem(f"size: {size} pixels; expected 8 or more, or null for the pictures as they are")
        )
    if seed < 0:
        found.append(Problem(f"seed: {seed}; expected 0 or more"))
    return found


def _rows(root: Path, problems: list[Problem]) -> list[dict[str, str]]:
    """The rows of metadata.csv that carry a diagnosis, in the order of their ids."""
    file = root / "metadata.csv"
    if not file.is_file():
        problems.append(Problem(f"there is no metadata.csv in {root}", hint=HOW_TO_GET))
        return []
    rows: dict[str, dict[str, str]] = {}
    with file.open(encoding="utf-8-sig", newline="") as opened:
        table = csv.DictReader(opened)
        columns = table.fieldnames or ()
        lacking = [name for name in NEEDED if name not in columns]
        for name in lacking:
            problems.append(Problem(f"no column {name!r}", str(file), 1, hint=nearest(name, columns)))
        if lacking:
            return []
        for row in table:
            said = row["diagnosis"].strip().casefold() if row["diagnosis"] else ""
            if not said:
                continue
            if said not in NAMES:
                message = f"diagnosis {row['diagnosis']!r}; expected {' or '.join(NAMES)}"
                problems.append(Problem(message, str(file), table.line_num, hint=nearest(said, NAMES)))
            elif row["isic_id"] in rows:
                problems.append(Problem(f"{row['isic_id']} occurs twice", str(file), table.line_num))
            else:
                rows[row["isic_id"]] = {**row, "diagnosis": NAMES[said]}
    if not rows and not problems:
        problems.append(Problem("no row has a diagnosis", str(file), hint=HOW_TO_GET))
    return [rows[id] for id in sorted(rows)]


def _image(root: Path, id: str) -> Path:
    return root / "448px" / f"{id}.jpg"


def _missing(files: Iterable[Path]) -> list[Problem]:
    """One problem for all missing images: there are none of them, or hundreds."""
    absent = [file for file in files if not file.is_file()]
    if not absent:
        return []
    shown = ", ".join(file.name for file in absent[:5])
    more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
    return [Problem(f"missing images: {shown}{more}", str(absent[0].parent), hint=HOW_TO_GET)]


def _records(
    work: Path, rows: Sequence[Mapping[str, str]], images: Sequence[Path], size: int | None, seed: int
) -> Iterator[Record]:
    import numpy as np

    ids = [row["isic_id"] for row in rows]
    unread = [Record(id, str(image), "train") for id, image in zip(ids, images, strict=True)]
    problems = verify_images(unread)
    if problems:
        raise InputError(problems)
    with ThreadPoolExecutor(2) as pool:
        thumbnails = np.stack(list(pool.map(_thumbnail, images)))
        group = _join(same_pictures(ids, thumbnails), SAME_LESION)
        if size is not None:
            folder = work / f"isic_uda1-{size}px"
            folder.mkdir(parents=True, exist_ok=True)
            images = list(pool.map(lambda image: _small(image, folder, size), images))
    split = _split(ids, group, [row["diagnosis"] for row in rows], seed)
    for row, image, id in zip(rows, images, ids, strict=True):
        columns: dict[str, Any] = {}
        if (row.get("age_approx") or "").isdigit():
            columns["age_approx"] = int(row["age_approx"])
        if row.get("sex"):
            columns["sex"] = row["sex"]
        yield Record(
            id=id,
            image=str(image),
            split=split[id],
            diagnosis=row["diagnosis"],
            group=group[id],
            columns=columns,
        )


def same_pictures(ids: Sequence[str], thumbnails: np.ndarray[Any, Any]) -> dict[str, str]:
    """Id -> the first id of its group; pictures are one group when their thumbnails (n, h, w, c) are alike.

    Alike: a correlation of `SAME_PICTURE` or more in one of the eight orientations, channel means removed.
    """
    import numpy as np

    def unit(pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
        flat = centred.reshape(len(pictures), -1)
        return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))

    alike = np.full((len(ids), len(ids)), -1.0)
    upright = unit(thumbnails)
    for turns, mirrored in itertools.product(range(4), (False, True)):
        turned = np.rot90(thumbnails, turns, axes=(1, 2))
        alike = np.maximum(alike, upright @ unit(turned[:, :, ::-1] if mirrored else turned).T)
    first = list(range(len(ids)))
    for i, j in zip(*np.nonzero(np.triu(alike >= SAME_PICTURE, 1)), strict=True):
        low, high = sorted((first[i], first[j]))
        first = [low if other == high else other for other in first]
    return {id: ids[k] for id, k in zip(ids, first, strict=True)}


def _join(group: Mapping[str, str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The groups with those of each pair made one."""
    joined = dict(group)
    for a, b in pairs:
        if a in joined and b in joined:
            keep, drop = sorted((joined[a], joined[b]))
            joined = {id: keep if name == drop else name for id, name in joined.items()}
    return joined


def _split(
    ids: Sequence[str], group: Mapping[str, str], diagnoses: Sequence[str], seed: int
) -> dict[str, str]:
    """Id -> split: in each diagnosis whole groups go to test, then validation, until those are full."""
    members: dict[str, list[str]] = {}
    for id in ids:
        members.setdefault(group[id], []).append(id)
    diagnosis_of = dict(zip(ids, diagnoses, strict=True))
    split = dict.fromkeys(ids, "train")
    for diagnosis in dict.fromkeys(diagnoses):
        groups = [name for name in members if diagnosis_of[name] == diagnosis]
        groups.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        total = sum(len(members[name]) for name in groups)
        for part, share in SHARES.items():
            taken = 0
            while groups and taken < round(share * total):
                for id in members[groups[0]]:
                    split[id] = part
                taken += len(members[groups.pop(0)])
    return split


def _square(image: Path, size: int) -> Image.Image:
    """The middle square, scaled to `size`; JPEG's own reduction first, for speed."""
    from PIL import Image

    with Image.open(image) as opened:
        opened.draft("RGB", (2 * size, 2 * size))
        picture = opened.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    return picture.resize((size, size), Image.Resampling.BOX if size < side else None, box=box)


def _thumbnail(image: Path) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.asarray(_square(image, THUMBNAIL), dtype=np.float64)


def _small(image: Path, folder: Path, size: int) -> Path:
    """The scaled picture's file; it is kept when it is there and newer than its source."""
    small = folder / f"{image.stem}.png"
    if not small.is_file() or small.stat().st_mtime_ns < image.stat().st_mtime_ns:
        part = small.with_name(f".{small.name}.part")
        _square(image, size).save(part, "PNG", compress_level=1)
        part.replace(small)
    return small

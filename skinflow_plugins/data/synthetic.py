"""Synthetic lesions: small pictures with a known diagnosis, caption, box, mask and patient, from a seed.

They show that a pipeline learns; they say nothing about skin.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinflow_plugins.data.lesion_fields import (
    CAPTION_FIELDS,
    DIAGNOSES,
    SHARES,
    bayes_top1,
    constant_caption,
    constant_field_accuracy,
    posterior,
)
from skinflow_plugins.data.record import SPLITS, Head, Record
from skinflow_plugins.declare import dataset
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.options import options_of

__all__ = [
    "CAPTION_FIELDS",
    "DIAGNOSES",
    "SHARES",
    "SKIN_TONES",
    "Lesion",
    "bayes_top1",
    "constant_caption",
    "constant_field_accuracy",
    "lesions",
    "posterior",
    "synthetic",
]

SKIN_TONES: Mapping[str, float] = {"I-II": 0.40, "III-IV": 0.35, "V-VI": 0.25}
"""Fitzpatrick groups and the share of patients in each."""

SMALLEST = 28
COLUMNS = frozenset({"id", "diagnosis", "caption", "group", "skin_tone", "box", "mask"})


@dataclass(frozen=True, slots=True)
class Lesion:
    """What is to be drawn; `looks_like` differs from `diagnosis` for the ambiguous ones."""

    split: str
    number: int
    patient: int
    skin_tone: str
    diagnosis: str
    looks_like: str
    values: Mapping[str, str]

    @property
    def id(self) -> str:
        return f"{self.split}-{self.number:05d}"


def lesions(split: str, count: int, seed: int, ambiguity: float) -> Iterator[Lesion]:
    """The first `count` lesions of a split; a larger count only adds lesions at the end.

    Every six in a row hold each diagnosis once. A patient has one to three lesions.
    """
    chance = random.Random(f"synthetic lesions/{seed}/{split}")
    patient, left, skin_tone = -1, 0, ""
    block: list[str] = []
    for number in range(count):
        if not left:
            patient, left = patient + 1, chance.choice((1, 2, 3))
            skin_tone = _draw(chance, tuple(SKIN_TONES), tuple(SKIN_TONES.values()))
        left -= 1
        if not block:
            block = chance.sample(DIAGNOSES, len(DIAGNOSES))
        diagnosis = block.pop()
        # Both are drawn always, so that another `ambiguity` changes only the lesions concerned
        ambiguous = chance.random() < ambiguity
        other = chance.choice([d for d in DIAGNOSES if d != diagnosis])
        look = other if ambiguous else diagnosis
        values = {name: _draw(chance, CAPTION_FIELDS[name], SHARES[look][name]) for name in CAPTION_FIELDS}
        yield Lesion(split, number, patient, skin_tone, diagnosis, look, values)


def _draw(chance: random.Random, values: tuple[str, ...], shares: tuple[float, ...]) -> str:
    return chance.choices(values, shares)[0]


def _problems(options: Mapping[str, Any]) -> list[str]:
    found = [f"{name}: {options[name]} lesions; expected 0 or more" for name in SPLITS if options[name] < 0]
    if not any(options[name] for name in SPLITS):
        found.append("train, validation and test are all 0, so there is nothing to draw")
    if options["size"] < SMALLEST:
        found.append(f"size: {options['size']} pixels; the fields are lost below {SMALLEST}")
    if not 0 <= options["ambiguity"] < 1:
        found.append(f"ambiguity: {options['ambiguity']}; expected a chance from 0 up to, not with, 1")
    if options["seed"] < 0:
        found.append(f"seed: {options['seed']}; expected 0 or more")
    return found


def _head(options: Mapping[str, Any]) -> Head:
    full = {option.name: option.default for option in options_of(synthetic.function)} | dict(options)
    return Head(COLUMNS, tuple(_problems(full)), {name: full[name] for name in SPLITS if full[name] > 0})


@dataset("synthetic", head=_head)
def synthetic(
    work: Path,
    *,
    train: int = 3000,
    validation: int = 300,
    test: int = 400,
    size: int = 56,
    seed: int = 0,
    ambiguity: float = 0.05,
) -> Iterator[Record]:
    """Drawn lesions of six diagnoses with captions, boxes, masks and patients; made from a seed.

    `train`, `validation` and `test` count lesions; `size` is the side of the square picture in pixels;
    `ambiguity` is the chance that a lesion looks like another diagnosis. Pictures are written below `work`;
    those that are there already with the right content stay. Raises `InputError` for impossible options.
    """
    counts = {"train": train, "validation": validation, "test": test}
    problems = _problems({**counts, "size": size, "seed": seed, "ambiguity": ambiguity})
    if problems:
        raise InputError([Problem(text) for text in problems])
    return _records(Path(work).resolve(), counts, size, seed, ambiguity)


def _records(
    work: Path, counts: Mapping[str, int], size: int, seed: int, ambiguity: float
) -> Iterator[Record]:
    store = _Store(work, {"size": size, "seed": seed, "ambiguity": float(ambiguity)})
    try:
        for split, count in counts.items():
            for lesion in lesions(split, count, seed, ambiguity):
                box = store.keep_or_draw(lesion)
                yield Record(
                    id=lesion.id,
                    image=str(store.image(lesion)),
                    split=split,
                    diagnosis=lesion.diagnosis,
                    caption={name: (value,) for name, value in lesion.values.items()},
                    group=f"{split}-patient-{lesion.patient:05d}",
                    skin_tone=lesion.skin_tone,
                    columns={"box": box, "mask": str(store.mask(lesion))},
                )
    finally:
        store.save()


class _Store:
    """The pictures on disk and a manifest of what they are: options, digests and boxes.

    A file is kept when the manifest was written for the same options and the file's digest is the one noted.
    """

    def __init__(self, work: Path, options: Mapping[str, Any]) -> None:
        from skinflow_plugins.data.lesion_drawing import VERSION

        self.images, self.masks = work / "images", work / "masks"
        for folder in (self.images, self.masks):
            folder.mkdir(parents=True, exist_ok=True)
        self.path = work / "drawn.json"
        self.options = {"version": VERSION, **options}
        self.changed = False
        self.drawn: dict[str, Any] = {}
        try:
            noted = json.loads(self.path.read_text(encoding="utf-8"))
            if noted["options"] == self.options:
                self.drawn = dict(noted["drawn"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # no manifest, or half of one: everything is drawn again

    def image(self, lesion: Lesion) -> Path:
        return self.images / f"{lesion.id}.png"

    def mask(self, lesion: Lesion) -> Path:
        return self.masks / f"{lesion.id}.png"

    def keep_or_draw(self, lesion: Lesion) -> list[int]:
        """The box [x0, y0, x1, y1] in pixels (x1 and y1 exclusive) of a lesion whose files are right."""
        files = (self.image(lesion), self.mask(lesion))
        noted = self.drawn.get(lesion.id)
        if noted is None or [_digest_of(file) for file in files] != noted["digests"]:
            noted = self.drawn[lesion.id] = self._draw(lesion, files)
            self.changed = True
        return list(noted["box"])

    def _draw(self, lesion: Lesion, files: tuple[Path, Path]) -> dict[str, Any]:
        import numpy as np
        from PIL import Image

        from skinflow_plugins.data.lesion_drawing import draw_lesion

        origin = [self.options["seed"], SPLITS.index(lesion.split)]
        pixels, mask = draw_lesion(
            lesion.values,
            lesion.skin_tone,
            self.options["size"],
            np.random.default_rng([*origin, 0, lesion.patient]),
            np.random.default_rng([*origin, 1, lesion.number]),
        )
        digests = []
        for file, picture in zip(files, (Image.fromarray(pixels), Image.fromarray(mask)), strict=True):
            buffer = io.BytesIO()
            picture.save(buffer, "PNG", compress_level=1)
            _write(file, buffer.getvalue())
            digests.append(_digest(buffer.getvalue()))
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        return {"box": box, "digests": digests}

    def save(self) -> None:
        if self.changed:
            text = json.dumps({"options": self.options, "drawn": self.drawn}, sort_keys=True)
            _write(self.path, text.encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _digest_of(file: Path) -> str | None:
    try:
        return _digest(file.read_bytes())
    except OSError:
        return None


def _write(file: Path, content: bytes) -> None:
    """Write whole files only: another process that draws the same never sees half of one."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_bytes(content)
    part.replace(file)

"""The one record type that every data source yields, and the prediction that comes back for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Record:
    """One image with what is known of it.

    `image` is an absolute path. `caption` maps a field of the caption schema to its right values (usually
    one). `group` is the patient or lesion: records of one group never stand in two splits. `columns` holds
    whatever else the source knows; every key of it reaches the rewards.
    """

    id: str
    image: str
    split: str
    diagnosis: str | None = None
    caption: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group: str | None = None
    skin_tone: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def sample(self) -> dict[str, Any]:
        """What a reward sees: plain JSON values; columns that are unknown for this record are absent."""
        known: dict[str, Any] = {"id": self.id, **self.columns}
        if self.diagnosis is not None:
            known["diagnosis"] = self.diagnosis
        if self.caption:
            known["caption"] = {name: list(values) for name, values in self.caption.items()}
        if self.group is not None:
            known["group"] = self.group
        if self.skin_tone is not None:
            known["skin_tone"] = self.skin_tone
        return known


@dataclass(frozen=True, slots=True)
class Head:
    """What the first look at a data source shows, before anything is trained or written.

    `columns` are the sample columns that every looked-at record has; `problems` are sentences for the user;
    `counts` are records per split where the source knows them without reading everything.
    """

    columns: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of a model to one task, with the sample that it is scored against."""

    id: str
    task: str
    answer: str
    sample: Mapping[str, Any]

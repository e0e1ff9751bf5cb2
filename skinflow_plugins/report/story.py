"""What a report on a dynamic vision encoder tells: pictures, a question, and what models did with them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from skinflow_plugins.models.looking import Floats, Look, ProjectionGains, Question

FORMAT = 1


@dataclass(frozen=True)
class Subject:
    """One picture (RGB), and the mask (h, w) of its lesion where it is known."""

    name: str
    image: Image
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Told:
    """A model in a few words, and what it did with each of the subjects."""

    label: str
    looks: Sequence[Look]


@dataclass(frozen=True)
class Story:
    """The subjects, the question, and one or two models; `note` says why there is no `before`."""

    subjects: Sequence[Subject]
    question: Question
    after: Told
    before: Told | None = None
    note: str = ""

    def models(self) -> dict[str, Told]:
        """The models by `before` and `after`, in this order."""
        return ({"before": self.before} if self.before else {}) | {"after": self.after}


def numbers(story: Story) -> dict[str, Any]:
    """Everything that the pictures show, as JSON has it; shares and gains are not rounded."""
    return {
        "format": FORMAT,
        "models": {when: told.label for when, told in story.models().items()},
        "note": story.note,
        "prompt": story.question.prompt,
        "last_token_of": "answer" if story.question.answer else "prompt",
        "images": [
            {
                "image": subject.name,
                "pixels": list(subject.image.size),
                "lesion_area": _area(story, position),
                **{when: _told(told.looks[position], subject) for when, told in story.models().items()},
            }
            for position, subject in enumerate(story.subjects)
        ],
        "mean": means(story),
    }


def means(story: Story) -> dict[str, float]:
    """Means over the images with a mask: its area, and every model's attention on it; empty without masks."""
    known = [position for position, subject in enumerate(story.subjects) if subject.mask is not None]
    if not known:
        return {}
    columns = {"lesion_area": [_area(story, position) for position in known]}
    for when, told in story.models().items():
        columns[when] = [_on_mask(told.looks[position], story.subjects[position]) for position in known]
    return {
        name: statistics.fmean(each for each in column if each is not None)
        for name, column in columns.items()
    }


def share_table(story: Story) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of text: attention on the image, and on the lesion beside the lesion's area."""
    models = story.models()
    masks = any(subject.mask is not None for subject in story.subjects)
    heads = ["image", *(f"on the image, {when}" for when in models)]
    if masks:
        heads += ["lesion area", *(f"on the lesion, {when}" for when in models)]
    rows = []
    for position, subject in enumerate(story.subjects):
        looks = [told.looks[position] for told in models.values()]
        row = [subject.name, *(percent(each.attention.on_image()) for each in looks)]
        if masks:
            row += [percent(_area(story, position)), *(percent(_on_mask(each, subject)) for each in looks)]
        rows.append(row)
    if masks and len(rows) > 1:
        rows.append(["mean", *("" for _ in models), *(percent(each) for each in means(story).values())])
    return heads, rows


def percent(share: float | None) -> str:
    """A share as a percentage with one digit; a dash when it is unknown."""
    return "–" if share is None else f"{100 * share:.1f} %"


def tiles(story: Story) -> Iterator[tuple[Subject, Look, int]]:
    """Every image that the routers saw: its subject, the look of `after`, the tile's number."""
    for subject, look in zip(story.subjects, story.after.looks, strict=True):
        count = look.gains[0].band.shape[0] if look.gains else 0
        yield from ((subject, look, tile) for tile in range(count))


def _area(story: Story, position: int) -> float | None:
    mask = story.subjects[position].mask
    return None if mask is None else story.after.looks[position].attention.area(mask)


def _on_mask(look: Look, subject: Subject, layer: int | None = None) -> float | None:
    return None if subject.mask is None else look.attention.on_mask(subject.mask, layer)


def _told(look: Look, subject: Subject) -> Mapping[str, Any]:
    layers = range(len(look.attention.maps))
    return {
        "answer": look.answer,
        "grid": list(look.attention.map().shape),
        "tiles": look.attention.grid.tiles,
        "attention_on_image": look.attention.on_image(),
        "attention_on_image_by_layer": [look.attention.on_image(layer) for layer in layers],
        "attention_on_lesion": _on_mask(look, subject),
        "attention_on_lesion_by_layer": [_on_mask(look, subject, layer) for layer in layers],
        "attention": look.attention.map().tolist(),
        "gains": {gains.name: _gains(gains) for gains in look.gains},
    }


def _gains(gains: ProjectionGains) -> dict[str, Any]:
    return {
        "band": gains.band.tolist(),
        **{kind: _summary(found) for kind, found in (("input", gains.input), ("output", gains.output))},
    }


def _summary(gains: Floats | None) -> dict[str, list[float]] | None:
    """Mean and standard deviation over the channels, of each tile."""
    if gains is None:
        return None
    return {"mean": gains.mean(axis=1).tolist(), "spread": gains.std(axis=1).tolist()}

"""A ranked answer as concepts of a taxonomy: read once, and shared by all that score the answer."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from skinflow_plugins.diagnosis.answers import read_answer
from skinflow_plugins.diagnosis.concept import Concept
from skinflow_plugins.diagnosis.taxonomy import Taxonomy

REMEMBERED = 4096  # answers of ordinary length: more than a step has
REMEMBERED_LONG = 32
ORDINARY = 32_768  # characters; together with the numbers above, the bound of what is kept in memory


@dataclass(frozen=True, slots=True)
class Listed:
    """The first items of a ranked answer by rank, as `read_answer` reads them, and what each of them means.

    `items` are "" where void. `found` is the concept of each item, None where the item is void or unknown;
    `concepts` is the same but None also where a disease is repeated, so that it counts once. `general` says
    of each item whether it is a general word or a heading, which is never a right answer. `beyond_limit`
    items came too late to be read, and `void` ones have text but give no name.
    """

    items: tuple[str, ...]
    confidences: tuple[float | None, ...]
    found: tuple[Concept | None, ...]
    concepts: tuple[Concept | None, ...]
    general: tuple[bool, ...]
    beyond_limit: int = 0
    void: int = 0

    @property
    def names(self) -> list[str | None]:
        """The names of `concepts`, for the account that a score gives of what it read."""
        return [concept.name if concept else None for concept in self.concepts]

    @property
    def first(self) -> str:
        """The first item that is not void; "" where there is none."""
        return next(filter(None, self.items), "")

    @property
    def first_concept(self) -> Concept | None:
        """What the first item that is not void means, None where it is unknown or there is no item."""
        return next((found for item, found in zip(self.items, self.found, strict=True) if item), None)

    @property
    def marks(self) -> dict[str, float]:
        """How many items are listed, and whether the first of them is a general word: 1 or 0."""
        first = next((general for item, general in zip(self.items, self.general, strict=True) if item), False)
        return {"listed": float(len(self.items) + self.beyond_limit), "generic": float(first)}


def read_listed(answer: str, limit: int, tree: Taxonomy) -> Listed:
    """The first `limit` items of a ranked answer as concepts of the taxonomy.

    Several rewards ask the same of one answer, so what was read is remembered, for a bounded number of
    answers.
    """
    return (_short if len(answer) <= ORDINARY else _long)(answer, limit, tree)


def _read(answer: str, limit: int, tree: Taxonomy) -> Listed:
    read = read_answer(answer, limit, known=tree.knows)
    seen: set[str] = set()
    found: list[Concept | None] = []
    concepts: list[Concept | None] = []
    for item in read.items:
        concept = tree.resolve(item) if item else None
        found.append(concept)
        if concept is not None:
            disease = tree.representative(concept).id
            if disease in seen:
                concept = None
            seen.add(disease)
        concepts.append(concept)
    general = [each is not None and each.kind in ("group", "generic") for each in found]
    return Listed(
        tuple(read.items),
        tuple(read.confidences),
        tuple(found),
        tuple(concepts),
        tuple(general),
        read.beyond_limit,
        read.void,
    )


_short = functools.lru_cache(maxsize=REMEMBERED)(_read)
_long = functools.lru_cache(maxsize=REMEMBERED_LONG)(_read)

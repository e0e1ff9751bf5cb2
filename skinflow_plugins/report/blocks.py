"""What a section of the page is made of; the templates know one macro for each shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from skinflow_plugins.report.plots import Plot
from skinflow_plugins.report.tables import Table


@dataclass(frozen=True)
class Says:
    """A sentence or two; `tone` is plain, why (something is absent) or bad (something is wrong)."""

    shape: ClassVar[str] = "says"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Heading:
    """A heading inside of a section."""

    shape: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Shown:
    """A table with its caption above it."""

    shape: ClassVar[str] = "shown"
    table: Table
    title: bool = True


@dataclass(frozen=True)
class Folded:
    """A table or a text that is shown on demand."""

    shape: ClassVar[str] = "folded"
    title: str
    table: Table | None = None
    text: str = ""


@dataclass(frozen=True)
class Plots:
    """Plots side by side, with one legend for all of them where they share it."""

    shape: ClassVar[str] = "plots"
    plots: Sequence[Plot]
    legend: Sequence[tuple[str, str, str]] = ()

    @property
    def columns(self) -> int:
        """How many stand side by side on a wide screen: as many as leave the fewest places empty."""
        return 2 if len(self.plots) in (1, 2, 4) else 3


@dataclass(frozen=True)
class Beside:
    """A plot with a table beside it."""

    shape: ClassVar[str] = "beside"
    plot: Plot
    table: Table


@dataclass(frozen=True)
class Facts:
    """Names with what they are, as a list of definitions."""

    shape: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    shape: ClassVar[str] = "points"
    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text to be copied, as it stands."""

    shape: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Card:
    """One headline figure: large, with its interval, and held against the best constant answer."""

    title: str
    value: str
    interval: str
    n: str
    against: str  # better | worse | alike | unknown
    verdict: str
    reference: str
    bar: tuple[float, float, float, float | None] | None = None  # value, low, high, constant in percent
    lower: bool = False


@dataclass(frozen=True)
class Cards:
    """The headline figures."""

    shape: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True)
class Example:
    """One answer in the gallery; `picture` is a data URI, or empty and then `placeholder` says why."""

    id: str
    picture: str
    placeholder: str
    truth: str
    verdict: str
    kind: str
    why: str
    read: Sequence[tuple[str, str]]
    answer: str
    whole: str
    rest: int
    rewards: Sequence[tuple[str, str]]
    skin_tone: str


@dataclass(frozen=True)
class Gallery:
    """Answers with their images."""

    shape: ClassVar[str] = "gallery"
    examples: Sequence[Example]


@dataclass(frozen=True)
class Told:
    """A completion without its image: what is said of it, and each reward's name, value and reason."""

    badge: str
    title: str
    text: str
    answer: str
    whole: str
    source: str
    rewards: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Completions:
    """Completions from the logs of a training, with their rewards."""

    shape: ClassVar[str] = "completions"
    completions: Sequence[Told]


Block = (
    Says | Heading | Shown | Folded | Plots | Beside | Facts | Points | Code | Cards | Gallery | Completions
)


@dataclass(frozen=True)
class Section:
    """One section of the page; `key` is its anchor and goes before the ids of its plots."""

    key: str
    title: str
    lead: str = ""
    blocks: Sequence[Block] = field(default_factory=tuple)
    short: str = ""

    @property
    def link(self) -> str:
        """The title in the table of contents."""
        return self.short or self.title

"""The figures of a report as values with names, whatever a document leaves out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skinflow_plugins.report import wording


@dataclass(frozen=True)
class Figure:
    """One number with its interval, how many records it is about, and what it is to be held against."""

    key: str
    title: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    constant: float | None = None
    constant_answer: str = ""
    random: float | None = None
    better: str = "higher"
    unit: str = "share"
    why: str = ""

    @property
    def shown(self) -> str:
        return wording.value(self.value, self.unit)

    @property
    def interval(self) -> str:
        return wording.interval(self.low, self.high, self.unit)

    @property
    def constant_is_perfect(self) -> bool:
        """Whether a constant answer cannot be beaten: one that always names a melanoma misses none."""
        perfect = 0.0 if self.better == "lower" else 1.0
        return self.unit == "share" and self.constant == perfect

    @property
    def reference(self) -> float | None:
        """What the figure is held against: the constant answer, or the random one where that is perfect."""
        return self.random if self.constant_is_perfect else self.constant

    @property
    def against(self) -> str:
        """Whether the interval lies on the better or the worse side of the reference."""
        if self.value is None or self.reference is None or self.low is None or self.high is None:
            return "unknown"
        above, below = self.low > self.reference, self.high < self.reference
        if not above and not below:
            return "alike"
        return "better" if above == (self.better != "lower") else "worse"


@dataclass(frozen=True)
class Family:
    """Figures that belong together, under a title and with one sentence on what they mean."""

    title: str
    text: str
    figures: tuple[Figure, ...]


def read_figures(document: Mapping[str, Any]) -> dict[str, Figure]:
    """All figures of a report by key, in its order."""
    return {key: _figure(key, given) for key, given in (document.get("figures") or {}).items()}


def _figure(key: str, given: Mapping[str, Any]) -> Figure:
    n = wording.finite(given.get("n"))
    numbers = {
        name: wording.finite(given.get(name)) for name in ("value", "low", "high", "constant", "random")
    }
    return Figure(
        key,
        str(given.get("title") or key),
        n=None if n is None else int(n),
        constant_answer=_words(given.get("constant_answer")),
        better=str(given.get("better") or "higher"),
        unit=str(given.get("unit") or "share"),
        why=str(given.get("why") or ""),
        **numbers,
    )


def _words(answer: object) -> str:
    """A constant answer as text; a ranked list may come as one."""
    if isinstance(answer, list | tuple):
        return "; ".join(map(str, answer))
    return str(answer or "")


def families(document: Mapping[str, Any], figures: Mapping[str, Figure]) -> list[Family]:
    """The families in the report's order; figures that none of them lists come last."""
    found, listed = [], set()
    for family in document.get("families") or []:
        keys = [key for key in family.get("figures") or [] if key in figures]
        listed.update(keys)
        if keys:
            title = str(family.get("title") or family.get("key") or "")
            text = str(family.get("text") or "")
            found.append(Family(title, text, tuple(figures[key] for key in keys)))
    rest = tuple(figure for key, figure in figures.items() if key not in listed)
    if rest:
        title = "Other figures" if found else "Figures"
        found.append(Family(title, "Figures that no family of this report lists.", rest))
    return found


def by_rank(figures: Mapping[str, Figure], stem: str) -> dict[int, Figure]:
    """The figures `stem@k` by k, in rising order."""
    ranks = {}
    for key, figure in figures.items():
        name, _, rank = key.rpartition("@")
        if name == stem and rank.isdecimal():
            ranks[int(rank)] = figure
    return dict(sorted(ranks.items()))


def stems(figures: Mapping[str, Figure], prefix: str) -> list[str]:
    """The stems `prefix.name` of all figures with ranks, in the report's order."""
    found = (key.rpartition("@")[0] for key in figures if key.startswith(f"{prefix}.") and "@" in key)
    return list(dict.fromkeys(found))


def without_rank(title: str) -> str:
    """A figure's title for all its ranks: `Top-k, the same disease`, `Missed`, `Distance`."""
    kept = re.sub(r"^(top)-\d+\b", r"\1-k", title, flags=re.IGNORECASE)
    kept = re.sub(r"(,? in the first|,? first|, top) \d+( answers?)?$|, first answer$|@\d+", "", kept)
    return kept or title

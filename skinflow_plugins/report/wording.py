"""How numbers and foreign text are shown: one place, so that page, plots and model card agree."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable

NONE = "–"
NAME_LETTERS = 120
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def finite(value: object) -> float | None:
    """The value as a float; None for whatever is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def count(number: object) -> str:
    """A count with commas between thousands; a dash when it is unknown."""
    found = finite(number)
    return NONE if found is None else f"{found:,.0f}"


def value(number: object, unit: str = "share") -> str:
    """A figure as it is shown: shares as percentages, edges with two digits, scores with three."""
    found = finite(number)
    if found is None:
        return NONE
    if unit == "share":
        return f"{_positive_zero(100 * found, 1):.1f}%"
    digits = 2 if unit == "edges" else 3
    return f"{_positive_zero(found, digits):.{digits}f}"


def interval(low: object, high: object, unit: str = "share") -> str:
    """An interval as `low to high`; empty when an end is unknown."""
    ends = finite(low), finite(high)
    if ends[0] is None or ends[1] is None:
        return ""
    first, last = (value(end, unit).removesuffix("%") for end in ends)
    return f"{first} to {last}{'%' if unit == 'share' else ''}"


def difference(number: object, unit: str = "share") -> str:
    """A difference of two figures with its sign; of two shares in percentage points."""
    found = finite(number)
    if found is None:
        return NONE
    if unit == "share":
        return f"{_positive_zero(100 * found, 1):+.1f} points"
    return f"{_positive_zero(found, 3):+.3f}"


def plain(number: object) -> str:
    """Any number with four significant digits, as plots of training need it."""
    found = finite(number)
    if found is None:
        return NONE
    size = abs(found)
    if size and not 1e-3 <= size < 1e5:
        return f"{found:.2e}"
    decimals = 0 if size >= 1000 else max(0, 3 - math.floor(math.log10(size))) if size else 0
    return f"{found:,.{decimals}f}"


def duration(seconds: object) -> str:
    """A time in the two largest of hours, minutes and seconds."""
    found = finite(seconds)
    if found is None:
        return NONE
    if found < 60:
        return f"{found:.0f} s"
    minutes, rest = divmod(round(found), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


def visible(text: str) -> str:
    """The text with every letter that would be lost, or would turn its neighbours round, made visible."""
    return "".join(_letter(letter) for letter in text)


def shortened(text: str, most: int = NAME_LETTERS) -> str:
    """The visible text in one line, at most `most` letters of it."""
    line = " ".join(visible(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def and_so(words: Iterable[str]) -> str:
    """The words as an English list: a, b and c."""
    found = list(words)
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def _letter(letter: str) -> str:
    if letter in "\n\t":
        return letter
    kind = unicodedata.category(letter)
    if kind == "Cc" or letter in _TURNING:
        return f"[U+{ord(letter):04X}]"
    return "\ufffd" if kind == "Cs" else letter


def _positive_zero(number: float, digits: int) -> float:
    """Rounded, and without the sign of a negative zero."""
    return round(number, digits) + 0.0

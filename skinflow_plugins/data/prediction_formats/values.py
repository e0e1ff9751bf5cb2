"""What one value of a prediction or a label may be: each function gives it as we use it, or says why not.

A value that is not known gives None. A `ValueError` carries what was found and what was expected.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

UNKNOWN = frozenset({"", "-1", "nan", "na", "n/a", "<na>", "none", "null", "unknown"})
_TYPE = r"(i{1,3}|iv|vi?|[1-6])"
_TONE = re.compile(
    rf"(?:(?:fst|fitzpatrick|skin|photo|type|tone)[\s_:-]*)*{_TYPE}(?:\s*(?:[-–/]|to|and)\s*{_TYPE})?"
)
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6"}
_PAIRS = ("12", "34", "56")


_as_json = json.JSONEncoder(ensure_ascii=False).encode


def shown(value: Any) -> str:
    """The value as JSON, for a message, at most 60 characters of it."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def brief(name: str) -> str:
    """The name in quotes, at most 60 characters of it."""
    return repr(name if len(name) <= 60 else name[:57] + "...")


def identifier(value: Any) -> str:
    """A name of one row, as text."""
    if isinstance(value, str) and (bare := value.strip()):
        return bare
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of numbers with a gap, as pandas writes it
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"found {shown(value)}; expected text or a whole number")
    return str(value)


def answer(value: Any) -> str:
    """What the model said, untouched; lists and objects become JSON text, which `parse_answer` reads."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        try:
            return _as_json(value) if value else ""
        except RecursionError:
            raise ValueError("nested too deeply; expected text or a list of names") from None
    raise ValueError(f"found {shown(value)}; expected text or a list of names by rank")


def text(value: Any) -> str | None:
    """A label or another name."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str):
        raise ValueError(f"found {shown(value)}; expected text")
    bare = value.strip()
    # "unknown" may be a label of somebody's; what pandas writes for nothing is not.
    return None if bare.lower() in ("", "nan", "<na>") else bare


def group(value: Any) -> str | None:
    """A patient or lesion."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str) and value.strip().lower() in UNKNOWN:
        return None
    return identifier(value)


def skin_tone(value: Any) -> str | None:
    """A Fitzpatrick type from "1" to "6", or "12", "34", "56" for two of them."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"found {shown(value)}; expected a Fitzpatrick type")
    return _skin_tone(str(value))


@functools.lru_cache(maxsize=1024)
def _skin_tone(written: str) -> str | None:
    bare = re.sub(r"\.0+$", "", written.strip().lower())
    if bare in UNKNOWN:
        return None
    if bare in _PAIRS:
        return bare
    found = _TONE.fullmatch(bare)
    types = "".join(_ROMAN.get(one, one) for one in found.groups() if one) if found else ""
    if len(types) == 1 or types in _PAIRS:
        return types
    raise ValueError(
        f"found {shown(written)}; expected a Fitzpatrick type: 1 to 6, I to VI, FST1 to FST6, 12, 34 or 56;"
        " -1, unknown or nothing where it is not known"
    )


def confidence(value: Any) -> float | list[float] | None:
    """How sure the model is, in [0, 1]: of its answer, or of each diagnosis by rank."""
    if value is None or value == []:
        return None
    values = value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (int, float)) or not 0 <= one <= 1:
            raise ValueError(f"found {shown(value)}; expected a number in [0, 1], or a list of them by rank")
    return [float(one) for one in values] if isinstance(value, list) else float(value)


def rewards(value: Any) -> dict[str, float] | None:
    """Component -> reward; a component that is null was not judged and is absent."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"found {shown(value)}; expected an object of component: number")
    for one in value.values():
        number = isinstance(one, (int, float)) and not isinstance(one, bool) and abs(one) < math.inf
        if one is not None and not number:
            raise ValueError(f"found {shown(value)}; expected an object of component: number")
    return {name: float(one) for name, one in value.items() if one is not None} or None


FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "diagnosis": text,
    "skin_tone": skin_tone,
    "group": group,
    "confidence": confidence,
    "image": text,
    "rewards": rewards,
}
"""Key of a sample -> what checks it; others are not touched."""

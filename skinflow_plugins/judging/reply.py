"""What a judge replies: the schema that it is asked for, and the strict reading of the text that comes."""

from __future__ import annotations

import json
import re
from typing import Any

from skinflow_plugins.judging.verdict import VERDICTS, Verdict

_FENCE = re.compile(r"```(?:json)?[^\S\n]*\n(.*)\n[^\S\n]*```", re.DOTALL | re.IGNORECASE)
_THINK_END = "</think>"


class Unreadable(ValueError):
    """The reply is not what was asked for; the message says where it leaves the form."""


def schema(items: int) -> dict[str, Any]:
    """The JSON schema of a reply on so many items, in the subset that strict servers take."""
    verdict = object_schema(
        {"item": {"type": "integer"}, "verdict": {"type": "string", "enum": list(VERDICTS)}}
    )
    listed = {"type": "array", "items": verdict, "minItems": items, "maxItems": items}
    return object_schema({"verdicts": listed})


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object that has all these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_object(text: str) -> dict[str, Any]:
    """The JSON object that the reply is; `Unreadable` where it is anything else.

    The whole reply must be the object, bare or as one fenced block; only finished thinking may stand before
    it. Nothing is searched for and nothing is guessed; a key that stands twice makes it unreadable.
    """
    text = text.strip()
    if text.startswith("<think>") and _THINK_END in text:
        text = text.rpartition(_THINK_END)[2].strip()
    fenced = _FENCE.fullmatch(text)
    try:
        found = json.loads(fenced[1] if fenced else text, object_pairs_hook=_object)
    except Unreadable:
        raise
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON: {error}" if text else "an empty reply") from None
    if not isinstance(found, dict):
        raise Unreadable(f"found a JSON {type(found).__name__}; expected an object")
    return found


def read_reply(text: str, items: int) -> list[Verdict]:
    """The verdict on each item, in order; `Unreadable` unless the reply is exactly what was asked for.

    See `read_object`. An item without a verdict, one with two, a key or a word that was not asked for makes
    the whole reply unreadable.
    """
    found = read_object(text)
    if set(found) != {"verdicts"} or not isinstance(found["verdicts"], list):
        raise Unreadable("expected an object with one list 'verdicts'")
    verdicts: dict[int, Verdict] = {}
    for entry in found["verdicts"]:
        if not isinstance(entry, dict) or set(entry) != {"item", "verdict"}:
            raise Unreadable("expected entries with 'item' and 'verdict' alone")
        item, verdict = entry["item"], entry["verdict"]
        if type(item) is not int or not 1 <= item <= items:
            raise Unreadable(f"found item {str(item)[:40]!r}; expected 1 to {items}")
        if item in verdicts:
            raise Unreadable(f"found two verdicts on item {item}")
        known = [each for each in VERDICTS if each == verdict]
        if not known:
            raise Unreadable(f"found verdict {str(verdict)[:40]!r}; expected one of {', '.join(VERDICTS)}")
        verdicts[item] = known[0]
    if len(verdicts) != items:
        raise Unreadable(f"found verdicts on {len(verdicts)} of {items} items")
    return [verdicts[item] for item in range(1, items + 1)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("found a key twice in one object")
    return found

"""What an alarm says: a kind, a sentence with figures, and one completion as an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST = 600
"""Letters of an example's completion, and of each `why`; the whole line stands in rewards.jsonl."""
_KEPT: tuple[str, ...] = (
    "step",
    "id",
    "task",
    "group",
    "generation",
    "tokens",
    "rewards",
    "total",
    "gated",
    "failed",
)
_KEPT += ("marks",)

Line = Mapping[str, Any]
"""One line of rewards.jsonl."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What an alarm's function found in the window: `value` crossed `limit`, and `example` shows it.

    `subject` is the reward that it is about, where there is one: each has its own alarm.
    """

    message: str
    value: float
    limit: float
    example: Line = field(default_factory=dict)
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm of a run: at which step, of which kind, in words, and with an example."""

    step: int
    kind: str
    message: str
    value: float
    limit: float
    example: Line

    def as_dict(self) -> dict[str, Any]:
        """The line of alarms.jsonl."""
        return {
            "step": self.step,
            "kind": self.kind,
            "message": self.message,
            "value": round(self.value, 6),
            "limit": round(self.limit, 6),
            "example": dict(self.example),
        }


def shortened(line: Line) -> dict[str, Any]:
    """The line of rewards.jsonl as an example: long texts end in an ellipsis."""
    kept = {name: line[name] for name in _KEPT if name in line}
    kept["completion"] = cut(str(line.get("completion", "")))
    for name in ("why", "missing"):
        if line.get(name):
            kept[name] = {key: cut(str(text)) for key, text in line[name].items()}
    return kept


def cut(text: str, most: int = LONGEST) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""One question to a judge: what it is sent, the form of its reply, and how the reply is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """The chat, the JSON schema of the reply under a `name`, and `read`, which makes a value of the reply.

    `read` gets the whole text and raises `Unreadable` (of `reply`) when it is not what was asked for.
    `max_tokens` bounds the reply in the place of the judge's own bound.
    """

    messages: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any]
    name: str
    read: Callable[[str], T]
    max_tokens: int | None = None

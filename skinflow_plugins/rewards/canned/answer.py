"""What a canned answer is, and which kinds of them there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["good", "near_miss", "bad", "empty", "gaming", "malformed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BETTER: dict[Kind, tuple[Kind, ...]] = {
    "good": (),
    "near_miss": ("good",),
    "bad": ("good", "near_miss"),
    "empty": ("good", "near_miss", "bad"),
    "gaming": ("good", "near_miss", "bad"),
    "malformed": ("good", "near_miss", "bad"),
}
"""Kind -> the kinds whose best answer to a sample it must not beat."""


@dataclass(frozen=True, slots=True)
class Canned:
    """An answer that is made, not generated. `name` says what it is or what it tries.

    `constant` marks an answer that is the same for every sample: on some it may be right by luck, so only its
    mean says something.

    `holds` says how much of the truth stands where it counts. An answer that holds `all` of it is spoilt in
    form alone: a reward of content may pay it like a good one, a reward of form should not. One that holds a
    `part`, such as the group of the diagnosis, may earn more than a wrong one, but no more than a near miss.
    """

    kind: Kind
    name: str
    answer: str
    constant: bool = False
    holds: Literal["nothing", "part", "all"] = "nothing"

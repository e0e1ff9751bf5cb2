"""A value of the plan with its reason."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Explained:
    """A value, and why we set it; an empty reason means that it follows from the recipe alone."""

    value: Any
    why: str = ""

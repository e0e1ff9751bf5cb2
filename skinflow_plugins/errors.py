"""Errors for the person who made the mistake: where, what was found, what was expected, what to do.

`InputError` carries every problem at once and ends the program with exit code 2; `WorkFailed` means that
the input was right and the work was not (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class SkinflowError(Exception):
    """Base of all errors that are meant for the user; `exit_code` is what the command line returns."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the user's input.

    `where` is a file, with `line` counted from 1 when it is known; `path` is the place inside a recipe, such
    as `stages[1].rewards[0]`; `message` says what was found and what was expected; `hint` says what to do.
    """

    message: str
    where: str = ""
    line: int | None = None
    path: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}" if self.where and self.line else self.where
        head = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{head}\n    {self.hint}" if self.hint else head


class InputError(SkinflowError):
    """The input is wrong; holds every problem found, in the order of the input."""

    exit_code = 2

    def __init__(self, problems: Problem | str | Sequence[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class WorkFailed(SkinflowError):
    """The work itself failed: a stage stopped, a gate was missed, a reward returned nonsense."""

    exit_code = 1


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that helps: the nearest known names, or else all of them when they are few."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:12])
    return f"known: {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")

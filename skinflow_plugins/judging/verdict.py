"""The four verdicts on a listed diagnosis, as words and as codes."""

from __future__ import annotations

from typing import Literal, get_args

Verdict = Literal["correct", "subtype", "critical", "wrong"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""In the order of their codes: 0, 1, 2, 3."""

CODE: dict[str, int] = {verdict: code for code, verdict in enumerate(VERDICTS)}
NOTHING = -1
"""The code where there is no verdict: no item at that rank, a void item, or a run that failed."""

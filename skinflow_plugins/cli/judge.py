"""`skinflow judge`: the verbs that look after judges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skinflow_plugins.cli import judge_cache, judge_check
from skinflow_plugins.cli.parser import add_verb

if TYPE_CHECKING:
    from skinflow_plugins.cli.parser import Verbs


def add(verbs: Verbs) -> None:
    """Add `judge` and its verbs."""
    judge = add_verb(verbs, "judge", "look after judges: their kept answers, and how well they judge", None)
    inner = judge.add_subparsers(dest="inner", metavar="VERB", required=True)
    for module in (judge_check, judge_cache):
        module.add(inner)

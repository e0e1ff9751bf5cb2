"""Decisions against what is known: new ones, old ones, and conflicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.captioning.merge import Merged, decisions
from skinflow_plugins.captioning.rows import Row
from skinflow_plugins.captioning.sheet import Line
from skinflow_plugins.captioning.tries import Decision, Failure, History, Try
from skinflow_plugins.diagnosis import Taxonomy
from skinflow_plugins.errors import InputError

RED, BLUE = Decision("accept", {"colour": ["red"]}), Decision("accept", {"colour": ["blue"]})
DROP = Decision("drop", {})
FILE = Path("review.csv")
LEAKS = Try(1, 0, "leaks", {"colour": ["red"]}, (), "why")


def past(*tries: Try, decision: Decision | None = None) -> History:
    return History("s", "melanoma", list(tries or [LEAKS]), decision)


PASTS = {
    "new": past(),
    "red": past(decision=RED),
    "dropped": past(decision=DROP),
    "accepted": past(Try(1, 0, "accepted", {"colour": ["red"]}, (("melanoma",),), "why")),
    "failed": past(Try(1, 0, "failed", failure=Failure("judge", "timeout", "late"))),
}
ROWS = [Row(n, id, f"/{id}.png", "melanoma", "s", "train", None, {}) for n, id in enumerate(PASTS, 1)]


def line(id: str, decision: Decision | None, number: int = 2, diagnosis: str = "melanoma") -> Line:
    return Line(number, id, diagnosis, decision)


def merged(taxonomy: Taxonomy, *lines: Line, **options: Any) -> Merged:
    return decisions(lines, ROWS, PASTS, 1, taxonomy, FILE, **options)


def conflict(taxonomy: Taxonomy, *lines: Line, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        merged(taxonomy, *lines, **options)
    return str(caught.value)


def test_new_known_and_open_decisions(taxonomy: Taxonomy) -> None:
    found = merged(taxonomy, line("new", BLUE), line("red", RED, 3), line("dropped", DROP, 4))
    assert [(event["id"], event["decision"], event["caption"]) for event in found.events] == [
        ("new", "accept", {"colour": ["blue"]})
    ]
    assert (found.known, found.undecided) == (2, 0)
    assert merged(taxonomy, line("new", None)) == Merged((), 0, 1)


def test_rows_that_are_not_up_for_review(taxonomy: Taxonomy) -> None:
    assert "review.csv:7: there is no row with the id 'newe' in review\n    did you mean 'new'" in conflict(
        taxonomy, line("newe", RED, 7)
    )
    assert "the row 'accepted' is accepted, not up for review" in conflict(taxonomy, line("accepted", RED))
    assert "the row 'failed' is failed, not up for review" in conflict(taxonomy, line("failed", DROP))


def test_a_diagnosis_is_not_changed_in_the_sheet(taxonomy: Taxonomy) -> None:
    text = conflict(taxonomy, line("new", RED, diagnosis="psoriasis"))
    assert "the diagnosis of 'new' is 'melanoma' in the data and 'psoriasis' here" in text


def test_a_row_twice(taxonomy: Taxonomy) -> None:
    text = conflict(taxonomy, line("new", RED, 2), line("new", DROP, 5))
    assert "review.csv:5: the row 'new' stands in line 2 already" in text


def test_another_decision_than_before(taxonomy: Taxonomy) -> None:
    text = conflict(taxonomy, line("red", BLUE), line("dropped", RED, 3))
    assert '\'red\' was decided before: accept "colour: red"; here accept "colour: blue"' in text
    assert "review.csv:3: the row 'dropped' was decided before: drop; here accept" in text
    found = merged(taxonomy, line("red", BLUE), line("dropped", RED, 3), overrule=True)
    assert [event["id"] for event in found.events] == ["red", "dropped"]


def test_a_decision_is_not_taken_back_by_an_empty_cell(taxonomy: Taxonomy) -> None:
    assert "the row 'red' was decided before" in conflict(taxonomy, line("red", None), overrule=True)


def test_an_experts_caption_must_not_name_the_diagnosis(taxonomy: Taxonomy) -> None:
    named = Decision("accept", {"lesion_type": ["nodular melanoma"]})
    for overrule in (False, True):
        text = conflict(taxonomy, line("new", named), overrule=overrule)
        assert "the caption of 'new' names the diagnosis" in text


def test_all_conflicts_at_once_and_nothing_merged(taxonomy: Taxonomy) -> None:
    text = conflict(taxonomy, line("new", RED, 2), line("what", RED, 3), line("failed", RED, 4))
    assert "review.csv:3" in text
    assert "review.csv:4" in text

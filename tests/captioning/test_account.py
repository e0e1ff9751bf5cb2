"""Numbers that add up, and the baseline of captions that belong to other images."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.captioning.account import account, chances, dropped, usage
from skinflow_plugins.captioning.rows import LeftOut, Row, Rows
from skinflow_plugins.captioning.tries import Decision, Failure, History, Outcome, Try
from skinflow_plugins.data.lesion_fields import DIAGNOSES
from skinflow_plugins.diagnosis import load_taxonomy

TAXONOMY = load_taxonomy("demo")
MOST = 3


def attempt(number: int, outcome: Outcome, said: str = "melanoma") -> Try:
    if outcome == "failed":
        return Try(number, 0, outcome, failure=Failure("judge", "timeout", "late"))
    return Try(number, 0, outcome, {"colour": [said]}, ((said,),), "")


def row(id: str, diagnosis: str, skin_tone: str | None = None) -> Row:
    return Row(int(id), id, f"/{id}.png", diagnosis, "s", "train", skin_tone, {})


@st.composite
def pasts(draw: st.DrawFn) -> tuple[Rows, dict[str, History]]:
    rows, found = [], {}
    for number in range(draw(st.integers(1, 8))):
        diagnosis = draw(st.sampled_from(DIAGNOSES))
        rows.append(row(str(number), diagnosis, draw(st.sampled_from([None, "I-II", "V-VI"]))))
        tries = draw(st.integers(0, MOST))
        made = [attempt(n + 1, "not recovered", draw(st.sampled_from(DIAGNOSES))) for n in range(tries)]
        if made and draw(st.booleans()):
            made[-1] = attempt(tries, "accepted", diagnosis)
        elif tries < MOST and draw(st.booleans()):
            made.append(attempt(tries + 1, "failed"))
        if made:
            found[str(number)] = History("s", diagnosis, made)
            if found[str(number)].status(MOST) == "review" and draw(st.booleans()):
                word = draw(st.sampled_from(["accept", "drop"]))
                found[str(number)].decision = Decision(word, {"colour": ["red"]} if word == "accept" else {})
    left_out = tuple(LeftOut(99, "no image", "") for _ in range(draw(st.integers(0, 2))))
    return Rows(Path("x"), "", tuple(rows), left_out), found


@given(pasts())
def test_everything_adds_up_to_the_rows_of_the_input(made: tuple[Rows, dict[str, History]]) -> None:
    read, past = made
    report = account(read, past, MOST, TAXONOMY, [])
    rows = report["rows"]
    assert rows["input"] == len(read) == sum(rows.values()) - rows["input"]
    assert sum(report["accepted_at"].values()) == rows["accepted"]
    assert sum(report["review"].values()) == rows["review"]
    assert sum(report["left_out"].values()) == rows["left_out"]
    assert report["captions"] == rows["accepted"] + report["review"]["accept"]
    assert sum(report["outcomes"].values()) == sum(len(each.attempts) for each in past.values())
    assert sum(report["failures"].values()) == report["outcomes"]["failed"]
    for groups in report["groups"].values():
        for name in ("accepted", "review", "failed", "waiting"):
            assert sum(group[name] for group in groups) == rows[name]
        assert sum(group["rows"] for group in groups) == len(read.rows)
        assert all(group["recovered"] is None or 0 <= group["recovered"] <= 1 for group in groups)
    assert all(0 <= chance <= 1 for chance in chances(read.rows, past, MOST, TAXONOMY).values())


def test_groups_that_lose_most_come_first_and_lost_ones_are_named() -> None:
    rows = [row(str(n), name) for n, name in enumerate(["melanoma", "melanoma", "psoriasis", "halo nevus"])]
    past = {
        "0": History("s", "melanoma", [attempt(n, "not recovered") for n in (1, 2, 3)]),
        "2": History("s", "psoriasis", [attempt(1, "leaks"), attempt(2, "accepted")]),
    }
    report = account(Rows(Path("x"), "", tuple(rows), ()), past, MOST, TAXONOMY, [])
    groups = report["groups"]["diagnosis"]
    assert [(group["name"], group["recovered"], group["waiting"]) for group in groups] == [
        ("melanoma", 0.0, 1),
        ("psoriasis", 1.0, 0),
        ("halo nevus", None, 1),
    ]
    assert dropped(report) == ["melanoma"]
    past["0"].decision = Decision("accept", {"colour": ["red"]})
    assert dropped(account(Rows(Path("x"), "", tuple(rows), ()), past, MOST, TAXONOMY, [])) == []


def test_repeated_captions_are_counted() -> None:
    same = History(
        "s",
        "melanoma",
        [attempt(1, "not recovered"), attempt(2, "not recovered", "psoriasis"), attempt(3, "not recovered")],
    )
    report = account(Rows(Path("x"), "", (row("0", "melanoma"),), ()), {"0": same}, MOST, TAXONOMY, [])
    assert report["repeated"] == 1


def test_by_chance_is_what_permuted_captions_reach() -> None:
    """Against a simulation that gives each row the first captions of other rows, again and again."""
    chance = random.Random(0)
    rows = [row(str(n), chance.choice(DIAGNOSES[:3])) for n in range(30)]
    past = {}
    for each in rows:
        said = each.diagnosis if chance.random() < 0.6 else chance.choice(DIAGNOSES)
        outcome: Any = "accepted" if said == each.diagnosis else "not recovered"
        past[each.id] = History("s", each.diagnosis, [attempt(1, outcome, said)])
    expected = chances(rows, past, MOST, TAXONOMY)
    draws = 4000
    for each in rows[:5]:
        others = [past[other.id].attempts[0].said[0][0] for other in rows if other is not each]
        hits = sum(any(chance.choice(others) == each.diagnosis for _ in range(MOST)) for _ in range(draws))
        assert hits / draws == pytest.approx(expected[each.id], abs=5 * 0.5 / draws**0.5)


def test_usage_is_the_last_note_of_each_run() -> None:
    def note(run: int, calls: int) -> dict[str, Any]:
        used = {"calls": calls, "cost": 0.5, "failures": {"timeout": 1}}
        return {"event": "usage", "run": run, "captioner": used, "judge": {}}

    events = [note(1, 3), note(1, 7), note(2, 2), {"event": "try"}]
    assert usage(events) == {"captioner": {"calls": 9, "cost": 1.0}, "judge": {}}

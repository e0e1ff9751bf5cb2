"""Histories: what a row's attempts add up to, and which seed comes next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinflow_plugins.captioning.tries import OUTCOMES, Failure, History, Try, histories

CAPTION = {"colour": ["red"]}


def attempt(number: int, outcome: Any, seed: int = 0, **more: Any) -> Try:
    if outcome == "failed":
        more.setdefault("failure", Failure("captioner", "transport", "gone"))
        return Try(number, seed, outcome, **more)
    return Try(number, seed, outcome, CAPTION, (("melanoma",),), "why", **more)


def event(id: str, made: Try, **more: Any) -> dict[str, Any]:
    return {"event": "try", "id": id, "image_sha256": "s", "diagnosis": "d", **made.as_event(), **more}


def history(*attempts: Try) -> History:
    return History("s", "d", list(attempts))


def test_statuses() -> None:
    assert history().status(2) == "waiting"
    assert history(attempt(1, "not recovered")).status(2) == "waiting"
    assert history(attempt(1, "not recovered"), attempt(2, "leaks")).status(2) == "review"
    assert history(attempt(1, "not recovered"), attempt(2, "accepted")).status(2) == "accepted"
    assert history(attempt(1, "not recovered"), attempt(2, "failed")).status(2) == "failed"
    # A failure uses up no try, and a later verdict makes it the past.
    assert history(attempt(1, "failed"), attempt(1, "leaks")).status(2) == "waiting"
    assert history(attempt(1, "failed"), attempt(1, "leaks"), attempt(2, "leaks")).status(2) == "review"


def test_seeds_are_one_for_each_try_and_others_for_replies_that_could_not_be_used() -> None:
    unparsable = Failure("captioner", "unparsable", "no JSON")
    assert history().next_seed(10, 5) == 10
    assert history(attempt(1, "leaks")).next_seed(10, 5) == 11
    # The server was away: the same question again.
    assert history(attempt(1, "failed")).next_seed(10, 5) == 10
    assert history(attempt(1, "failed", failure=unparsable)).next_seed(10, 5) == 15
    twice = attempt(1, "failed", failure=unparsable)
    assert history(twice, twice).next_seed(10, 5) == 20
    assert history(twice, attempt(1, "leaks")).next_seed(10, 5) == 11


@given(st.integers(0, 4), st.integers(0, 6), st.integers(0, 4), st.integers(0, 6))
def test_no_two_captions_of_a_row_share_a_seed(a: int, b: int, c: int, d: int) -> None:
    bad = Failure("captioner", "refusal", "no")

    def seed(tries: int, failures: int) -> int:
        past = [attempt(n + 1, "leaks") for n in range(tries)]
        past += [attempt(tries + 1, "failed", failure=bad)] * failures
        return history(*past).next_seed(0, 5)

    assert (seed(a, b) == seed(c, d)) == ((a, b) == (c, d))


def test_a_caption_whose_judge_failed_is_kept() -> None:
    failure = Failure("judge", "unparsable", "no JSON")
    past = history(attempt(1, "failed", seed=3, caption=CAPTION, failure=failure))
    half = past.half_done()
    assert half is not None
    assert (half.seed, half.caption, past.judge_failures()) == (3, CAPTION, 1)
    assert past.next_seed(3, 5) == 3
    past.attempts.append(attempt(1, "leaks"))
    assert past.half_done() is None
    assert past.judge_failures() == 0
    assert history(attempt(1, "failed")).half_done() is None


attempts = st.builds(attempt, st.integers(1, 9), st.sampled_from(OUTCOMES), st.integers(0, 99))


@given(st.lists(st.tuples(st.sampled_from("abc"), attempts)))
def test_events_read_back_as_what_they_were(made: list[tuple[str, Try]]) -> None:
    found = histories([event(id, each) for id, each in made] + [{"event": "usage", "run": 1}])
    expected: dict[str, list[Try]] = {}
    for id, each in made:
        expected.setdefault(id, []).append(each)
    assert {id: past.attempts for id, past in found.items()} == expected


def test_a_decision_belongs_to_its_row() -> None:
    decided = {"event": "decision", "id": "a", "image_sha256": "s", "diagnosis": "d", "decision": "accept"}
    past = histories([event("a", attempt(1, "leaks")), {**decided, "caption": CAPTION, "note": "n"}])["a"]
    assert past.decision is not None
    assert (past.decision.word, past.decision.caption, past.decision.note) == ("accept", CAPTION, "n")


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "great"},
        {"try": "1"},
        {"seed": None},
        {"caption": None},
        {"id": 3},
        {"image_sha256": None},
    ],
)
def test_events_that_cannot_be_read(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        histories([event("a", attempt(1, "leaks")) | change])


def test_two_images_under_one_id() -> None:
    with pytest.raises(ValueError, match="'a' has two images"):
        histories([event("a", attempt(1, "leaks")), event("a", attempt(2, "leaks"), image_sha256="t")])

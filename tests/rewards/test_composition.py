"""Rewards of a stage together: gates, missing rows, other stages' rows, what hangs, what waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from skinflow_plugins import NoVerdict, Score, reward
from skinflow_plugins.declare import Reward
from skinflow_plugins.rewards.calling import Missing, RewardError, call_reward
from skinflow_plugins.rewards.composition import BatchScores, Component, RewardGate, in_order, score_batch
from skinflow_plugins.rewards.schedule import Schedule


@reward("length_of", low=-1.0, high=9.0)
def length_of(answer: str, **sample: Any) -> Score:
    """The number of letters."""
    return Score(len(answer), answer, f"{len(answer)} letters", {"short": float(len(answer) < 2)})


@reward("asked", low=-1.0, high=9.0)
async def asked(answer: str, **sample: Any) -> float:
    """One where the judge is there, which it is not for `x`."""
    await asyncio.sleep(0)
    if answer.startswith("x"):
        raise NoVerdict("the judge is away")
    return 1.0


@reward("silent")
def silent(answer: str, **sample: Any) -> None:
    """Has no judgement."""


@reward("later", high=9.0)
def later(answer: str, **sample: Any) -> Any:
    """A plain function that returns an awaitable for long answers."""

    async def found() -> float:
        if answer == "xx":
            raise NoVerdict("away")
        if answer == "boom":
            raise KeyError("oh")
        return 2.0

    return found() if len(answer) > 1 else 1.0


def scores(components: list[Component], *answers: str, stages: list[str] | None = None) -> BatchScores:
    ids = [f"s{n}" for n in range(len(answers))]
    return score_batch(components, answers, {"id": ids}, stages=stages)


def test_a_closed_gate_leaves_the_lowest_value() -> None:
    found = scores(
        [
            Component(
                "a", length_of, gate=RewardGate("b", 3.0)
            ),  # before its gate: the order does not matter
            Component("b", length_of, weight=0.5),
        ],
        "yy",
        "yyy",
    )
    assert found.values("a") == [-1.0, 3.0]
    assert found.values("b") == [2.0, 3.0]
    closed, opened = found.judged["a"]
    assert closed is not None
    assert closed.gated
    assert isinstance(closed.outcome, Score)
    assert closed.outcome.value == 2.0  # what it would have been is not lost
    assert opened is not None
    assert not opened.gated
    assert found.totals(1) == [0.0, 4.5]


def test_gates_pass_on() -> None:
    found = scores(
        [
            Component("c", length_of, gate=RewardGate("b", 0.0)),
            Component("b", length_of, gate=RewardGate("a", 2.0)),
            Component("a", length_of),
        ],
        "y",
        "yy",
    )
    assert found.values("c") == [-1.0, 2.0]


def test_a_gate_without_a_score_takes_the_score_away() -> None:
    found = scores(
        [
            Component("failed", length_of, gate=RewardGate("asked", 0.5)),
            Component("asked", asked),
            Component("chosen", length_of, gate=RewardGate("silent", 0.5)),
            Component("silent", silent),
        ],
        "x",
        "yy",
    )
    assert found.values("failed") == [None, 2.0]
    assert found.values("chosen") == [None, None]
    failed, chosen = found.judged["failed"][0], found.judged["chosen"][0]
    assert failed is not None
    assert chosen is not None
    assert failed.outcome == Missing("its gate asked has no score: the judge is away", failed=True)
    assert isinstance(chosen.outcome, Missing)
    assert not chosen.outcome.failed


def test_nobody_is_asked_behind_a_closed_gate() -> None:
    seen: list[str] = []

    @reward("costly", low=-2.0)
    async def costly(answer: str, **sample: Any) -> float:
        """One half."""
        seen.append(answer)
        return 0.5

    @reward("plain_and_costly", low=-2.0)
    def plain_and_costly(answer: str, *, judge: Mapping[str, Any], **sample: Any) -> float:
        """One half."""
        seen.append(answer)
        return 0.5

    parts = [Component("cost", costly, gate=RewardGate("a", 2.0)), Component("a", length_of)]
    assert scores(parts, "y", "yy").values("cost") == [-2.0, 0.5]
    parts[0] = Component("cost", plain_and_costly, {"judge": {}}, gate=RewardGate("a", 2.0))
    found = scores(parts, "y", "yy")
    assert found.values("cost") == [-2.0, 0.5]
    assert seen == ["yy", "yy"]
    closed = found.judged["cost"][0]
    assert closed is not None
    assert closed.gated
    assert closed.outcome == Score(-2.0, why="not asked: its gate a is closed")


def test_gates_in_a_circle() -> None:
    ring = [
        Component("a", length_of, gate=RewardGate("b", 1)),
        Component("b", length_of, gate=RewardGate("a", 1)),
    ]
    with pytest.raises(ValueError, match=r"circle.*a, b"):
        in_order(ring)


def test_a_reward_judges_the_rows_of_its_stage_alone() -> None:
    seen: list[list[str]] = []

    @reward("noted", batched=True)
    def noted(answers: list[str], **columns: Any) -> list[float]:
        """One half."""
        seen.append(columns["id"])
        return [0.5] * len(answers)

    parts = [Component("one", noted, stage="I"), Component("two", length_of, stage="II")]
    found = scores(parts, "a", "bb", "c", stages=["I", "II", "I"])
    assert found.values("one") == [0.5, None, 0.5]
    assert found.values("two") == [None, 2.0, None]
    assert found.judged["one"][1] is None
    assert seen == [["s0", "s2"]]
    scores(parts, "a", stages=["II"])
    assert len(seen) == 1  # no row, no call


def test_no_verdict_is_no_zero_in_any_form_of_reward() -> None:
    @reward("batch", batched=True, high=9.0)
    def batch(answers: list[str], **columns: Any) -> list[Any]:
        """Some."""
        return [NoVerdict("gone") if answer == "x" else 1.0 for answer in answers]

    @reward("whole", batched=True)
    async def whole(answers: list[str], **columns: Any) -> list[Any]:
        """None at all."""
        raise NoVerdict("all gone")

    @reward("row")
    def row(answer: str, **columns: Any) -> float:
        """Some."""
        if answer == "x":
            raise NoVerdict("gone")
        return 1.0

    found = scores(
        [
            Component("batch", batch),
            Component("whole", whole),
            Component("row", row),
            Component("later", later),
        ],
        "x",
        "xx",
        "yyy",
    )
    assert found.values("batch") == [None, 1.0, 1.0]
    assert found.values("whole") == [None, None, None]
    assert found.values("row") == [None, 1.0, 1.0]
    assert found.values("later") == [1.0, None, 2.0]
    for key in ("batch", "whole", "row"):
        first = found.judged[key][0]
        assert first is not None
        assert isinstance(first.outcome, Missing)
        assert first.outcome.failed
    assert call_reward(whole, ["x"], {}, {}) == [None]
    assert call_reward(later, ["x", "xx", "yyy"], {}, {}) == [Score(1.0), None, Score(2.0)]


@pytest.mark.parametrize("declared", [later, asked], ids=["plain", "async"])
def test_an_exception_where_it_is_awaited_names_the_sample(declared: Reward) -> None:
    @reward("asked_too")
    async def asked_too(answer: str, **sample: Any) -> float:
        """Fails."""
        raise KeyError("oh")

    used = declared if declared is later else asked_too
    with pytest.raises(RewardError, match=r"on sample s\d raised KeyError"):
        scores([Component("k", used)], "y" if used is later else "boom", "boom")


def test_a_failure_ends_the_others() -> None:
    cancelled = threading.Event()

    @reward("endless")
    async def endless(answer: str, **sample: Any) -> float:
        """Waits."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 0.0

    @reward("broken")
    def broken(answer: str, **sample: Any) -> float:
        """Fails."""
        raise ZeroDivisionError

    with pytest.raises(RewardError, match="'broken' on sample s0 raised ZeroDivisionError"):
        scores([Component("a", endless), Component("b", broken)], "y")
    assert cancelled.wait(5)


def test_a_reward_that_hangs_is_given_up() -> None:
    release = threading.Event()

    @reward("hanging", deadline=0.2)
    def hanging(answer: str, **sample: Any) -> float:
        """Waits for somebody."""
        release.wait(60)
        return 0.0

    @reward("waiting", deadline=0.2)
    async def waiting(answer: str, **sample: Any) -> float:
        """Waits for nobody."""
        await asyncio.sleep(60)
        return 0.0

    for declared in (hanging, waiting):
        with pytest.raises(RewardError, match=f"'{declared.name}' took more than 0.2 s for a batch of 2"):
            scores([Component("k", declared)], "y", "yy")
    # The next batch gets a thread of its own, and does not wait for the one that hangs.
    assert scores([Component("k", length_of)], "yy").values("k") == [2.0]
    release.set()


def test_the_deadline_of_the_component_wins_and_a_turn_costs_nothing_of_it() -> None:
    slow = threading.Event()

    @reward("slow", deadline=0.01)
    def slow_one(answer: str, **sample: Any) -> float:
        """Takes a third of a second."""
        slow.wait(0.3)
        return 0.5

    @reward("quick", deadline=0.2)
    def quick(answer: str, **sample: Any) -> float:
        """Takes no time, but must wait for its turn."""
        return 1.0

    found = scores([Component("s", slow_one, deadline=30.0), Component("q", quick)], "y")
    assert found.values("s") == [0.5]
    assert found.values("q") == [1.0]


def test_awaitables_of_several_rewards_wait_together() -> None:
    both = threading.Barrier(2, timeout=10)

    def meeting(name: str) -> Reward:
        async def meet(answer: str, **sample: Any) -> float:
            """Waits until the other one is there too."""
            await asyncio.to_thread(both.wait)
            return 1.0

        def plain(answer: str, **sample: Any) -> Any:
            """The same, from a plain function."""
            return meet(answer)

        return reward(name)(meet if name == "one" else plain)

    found = scores([Component("1", meeting("one")), Component("2", meeting("two"))], "y")
    assert found.values("1") == found.values("2") == [1.0]


def test_weights_follow_their_schedule_in_the_total() -> None:
    found = scores([Component("a", length_of, weight=1.0, schedule=Schedule(to=0.0, steps=2))], "yy")
    assert [found.totals(step) for step in (1, 2, 3, 4)] == [[2.0], [1.0], [0.0], [0.0]]


def test_marks_must_be_numbers() -> None:
    @reward("marked")
    def marked(answer: str, **sample: Any) -> Score:
        """A mark that is none."""
        return Score(0.5, marks={"share": float("nan") if answer == "x" else 1})

    found = scores([Component("k", marked)], "y").judged["k"][0]
    assert found is not None
    assert isinstance(found.outcome, Score)
    assert found.outcome.marks == {"share": 1.0}
    with pytest.raises(RewardError, match="on sample s1 gave the mark 'share' = nan; expected a finite"):
        scores([Component("k", marked)], "y", "x")


def test_behind_a_closed_gate_a_failure_takes_nothing_away() -> None:
    """The lowest value is due whatever the reward would have said; no judgement by choice stays none."""

    @reward("looked_up", low=-1.0)
    def looked_up(answer: str, **sample: Any) -> float:
        """One where the table is there, which it is not for `x`."""
        if answer.startswith("x"):
            raise NoVerdict("the table is away")
        return 1.0

    found = scores(
        [
            Component("judged", looked_up, gate=RewardGate("form", 3.0)),
            Component("chosen", silent, gate=RewardGate("form", 3.0)),
            Component("form", length_of),
        ],
        "x",
        "xxx",
        "yyy",
    )
    assert found.values("judged") == [-1.0, None, 1.0]
    assert found.values("chosen") == [None, None, None]
    closed = found.judged["judged"][0]
    assert closed is not None
    assert closed.gated
    assert isinstance(closed.outcome, Score)
    assert closed.outcome.why == "its gate form is closed, and the table is away"


@pytest.mark.parametrize("kind", ["plain", "async", "later", "batched"])
def test_a_reward_that_ends_the_process_is_blamed_and_ends_nothing(kind: str) -> None:
    async def leave(answer: Any, **sample: Any) -> float:
        """Leaves."""
        raise SystemExit(3)

    def plain(answer: str, **sample: Any) -> Any:
        """Leaves."""
        if kind == "later":
            return leave(answer)
        raise SystemExit(3)

    declared = reward("leaving", batched=kind == "batched")(leave if kind in ("async", "batched") else plain)
    with pytest.raises(RewardError, match=r"'leaving' .*raised SystemExit: 3"):
        scores([Component("k", declared)], "y")
    assert scores([Component("k", length_of)], "yy").values("k") == [2.0]  # the loop is still there


def test_a_mark_cannot_be_called_like_a_figure_of_the_logs() -> None:
    @reward("marked_mean")
    def marked_mean(answer: str, **sample: Any) -> Score:
        """A mark that would be mixed into the mean of the reward."""
        return Score(0.5, marks={"mean": 3.0})

    with pytest.raises(RewardError, match="on sample s0 gave a mark the name 'mean', which the logs use"):
        scores([Component("k", marked_mean)], "y")

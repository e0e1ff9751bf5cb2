import asyncio
from typing import Any

import pytest

from skinflow_plugins.judging.breaker import Breaker, Open, Ticket
from skinflow_plugins.judging.client import Failure

DOWN = Failure("transport", "HTTP 500: out of memory", outage=True)
ODD = Failure("unparsable", "no JSON")
WRONG_KEY = Failure("transport", "HTTP 401", hopeless=True, outage=True)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def breaker(clock: Clock, **options: Any) -> Breaker:
    return Breaker(**{"opens_after": 3, "cool_off": 2.0, "longest": 7.0, "clock": clock, **options})


async def fail(each: Breaker, times: int, failure: Failure = DOWN) -> list[bool]:
    opened = []
    for _ in range(times):
        with await each.admit() as ticket:
            opened.append(ticket.settle(failure))
    return opened


def test_it_opens_after_a_run_of_failures_of_the_server() -> None:
    async def run() -> None:
        each = breaker(Clock())
        assert await fail(each, 3) == [False, False, True]
        with pytest.raises(Open) as caught:
            await each.admit()
        assert str(caught.value) == (
            "the judge is left alone after 3 failures in a row; the last: transport: HTTP 500: out of "
            "memory; tried again in 2.0 s"
        )

    asyncio.run(run())


@pytest.mark.parametrize("between", [None, ODD])
def test_a_success_or_an_odd_answer_ends_the_run(between: Failure | None) -> None:
    async def run() -> None:
        each = breaker(Clock())
        await fail(each, 2)
        Ticket(each).settle(between)
        assert await fail(each, 3) == [False, False, True]

    asyncio.run(run())


def test_odd_answers_and_refusals_never_open_it() -> None:
    async def run() -> None:
        each = breaker(Clock())
        await fail(each, 50, ODD)
        await fail(each, 50, Failure("refusal", "no"))
        await fail(each, 50, Failure("transport", "HTTP 400: context too long"))
        each.check()

    asyncio.run(run())


def test_what_all_calls_would_meet_opens_it_at_once() -> None:
    async def run() -> None:
        each = breaker(Clock())
        assert await fail(each, 1, WRONG_KEY) == [True]
        with pytest.raises(Open, match="a failure that all calls would share; the last: transport: HTTP 401"):
            each.check()

    asyncio.run(run())


def test_one_probe_goes_out_and_the_others_wait_for_it() -> None:
    async def run(outcome: Failure | None) -> list[str]:
        clock = Clock()
        each = breaker(clock)
        await fail(each, 3)
        clock.now += 2.1
        each.check()
        probe = await each.admit()
        assert probe.probe
        waiting = [asyncio.create_task(each.admit()) for _ in range(5)]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        with probe:
            probe.settle(outcome)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        return [
            type(one).__name__ if isinstance(one, Exception) else f"probe {one.probe}"
            for one in found
            if not isinstance(one, BaseException) or isinstance(one, Exception)
        ]

    assert asyncio.run(run(None)) == ["probe False"] * 5
    assert asyncio.run(run(ODD)) == ["probe False"] * 5  # it answers
    assert asyncio.run(run(DOWN)) == ["Open"] * 5


def test_the_time_off_doubles_up_to_its_longest_and_starts_anew_after_a_success() -> None:
    async def run() -> None:
        clock = Clock()
        each = breaker(clock)
        await fail(each, 3)
        for seconds in (2.0, 4.0, 7.0, 7.0):
            clock.now += seconds - 0.01
            with pytest.raises(Open):
                each.check()
            clock.now += 0.02
            assert await fail(each, 1) == [False]
        clock.now += 8
        with await each.admit() as ticket:
            ticket.settle(None)
        assert each.reason == ""
        await fail(each, 3)
        with pytest.raises(Open, match=r"tried again in 2\.0 s"):
            each.check()

    asyncio.run(run())


def test_a_probe_that_is_given_up_makes_room_for_another() -> None:
    async def run() -> None:
        clock = Clock()
        each = breaker(clock)
        await fail(each, 3)
        clock.now += 3
        first = await each.admit()
        second = asyncio.create_task(each.admit())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="given up"), first:
            raise RuntimeError("given up")
        assert (await second).probe

    asyncio.run(run())


def test_an_older_call_that_succeeds_closes_it() -> None:
    async def run() -> None:
        clock = Clock()
        each = breaker(clock)
        old = await each.admit()
        late = await each.admit()
        await fail(each, 3)
        clock.now += 3
        probe = await each.admit()
        waiting = asyncio.create_task(each.admit())
        await asyncio.sleep(0)
        old.settle(None)
        assert not (await waiting).probe
        with probe:
            probe.settle(DOWN)
        assert each.reason == ""  # one failure opens nothing
        late.settle(DOWN)
        assert each.reason == ""

    asyncio.run(run())


def test_failures_of_calls_under_way_do_not_lengthen_the_time_off() -> None:
    async def run() -> None:
        clock = Clock()
        each = breaker(clock)
        tickets = [await each.admit() for _ in range(20)]
        assert [ticket.settle(DOWN) for ticket in tickets].count(True) == 1
        clock.now += 2.1
        assert (await each.admit()).probe

    asyncio.run(run())


def test_who_waits_for_a_probe_can_be_stopped_without_stopping_it() -> None:
    async def run() -> None:
        clock = Clock()
        each = breaker(clock)
        await fail(each, 3)
        clock.now += 3
        probe = await each.admit()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await each.admit()
        waiting = asyncio.create_task(each.admit())
        await asyncio.sleep(0)
        with probe:
            probe.settle(None)
        assert not (await waiting).probe

    asyncio.run(run())

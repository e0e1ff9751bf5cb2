import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.judging import (
    Judge,
    JudgeService,
    Question,
    Usage,
    account_to,
    reach,
    service_of,
    usage_of,
)
from skinflow_plugins.judging.breaker import Breaker
from skinflow_plugins.judging.cache import cache_at, forget_caches
from skinflow_plugins.judging.cache_upkeep import contents
from skinflow_plugins.judging.service import Reply

Make = Callable[..., Judge]
Ask = Callable[..., Question[str]]


def word(server: Any, text: str = "yes") -> Any:
    return server.Reply(server.completion(json.dumps({"word": text})))


def echo(server: Any) -> Callable[[dict[str, Any]], Any]:
    """Says back what it was asked."""
    return lambda request: word(server, request["messages"][0]["content"])


def serve(
    judge: Judge, work: Callable[[JudgeService], Awaitable[Any]], breaker: Breaker | None = None
) -> tuple[Any, Usage]:
    """What `work` gives back, and what was used."""

    async def run() -> tuple[Any, Usage]:
        async with JudgeService(judge, breaker=breaker) as service:
            found = await work(service)
        return found, service.usage()

    return asyncio.run(run())


def kinds(replies: list[Reply[str]]) -> list[str]:
    return [reply.answer.failure.kind if reply.answer.failure else "" for reply in replies]


def test_a_question_and_its_reply(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = echo(server)
    judge = judge_of(prompt_price=2.0, completion_price=10.0, seed=5)
    found, used = serve(judge, lambda service: service.reply(question("hello", max_tokens=77), run=2))
    assert (found.value, found.free) == ("hello", False)
    assert used == Usage(1, 0, 0, 100, 10, pytest.approx((100 * 2 + 10 * 10) / 1e6), {})
    (request,) = server.requests
    assert (request["seed"], request["max_tokens"]) == (7, 77)
    assert request["response_format"]["json_schema"]["name"] == "word"


def test_an_epoch_again_makes_no_call_in_this_process_or_the_next(
    server: Any, judge_of: Make, question: Ask
) -> None:
    server.script = echo(server)
    questions = [question(f"word {number}") for number in range(50)]

    async def epoch(service: JudgeService) -> list[Reply[str]]:
        return await asyncio.gather(*[service.reply(each, run=run) for each in questions for run in (0, 1)])

    first, used = serve(judge_of(), epoch)
    assert (used.calls, used.hits) == (100, 0)
    for _ in range(2):
        again, used = serve(judge_of(), epoch)
        assert [reply.value for reply in again] == [reply.value for reply in first]
        assert all(reply.free for reply in again)
        assert used == Usage(hits=100)
        forget_caches()  # as a new process begins
    assert len(server.requests) == 100
    _, used = serve(judge_of(cache="off"), epoch)
    assert (used.calls, used.hits) == (100, 0)


def test_equal_questions_at_once_share_a_call(server: Any, judge_of: Make, question: Ask) -> None:
    def script(request: dict[str, Any]) -> Any:
        time.sleep(0.1)
        return word(server)

    server.script = script

    async def work(service: JudgeService) -> list[Reply[str]]:
        return await asyncio.gather(*[service.reply(question("same")) for _ in range(20)])

    found, used = serve(judge_of(cache="off"), work)
    assert [reply.value for reply in found] == ["yes"] * 20
    assert [reply.free for reply in found].count(False) == 1
    assert (used.calls, used.hits, len(server.requests)) == (1, 19, 1)


def test_a_failure_that_is_shared_is_counted_once(server: Any, judge_of: Make, question: Ask) -> None:
    def script(request: dict[str, Any]) -> Any:
        time.sleep(0.1)
        return server.Reply({}, 500)

    server.script = script

    async def work(service: JudgeService) -> list[Reply[str]]:
        return await asyncio.gather(*[service.reply(question("same")) for _ in range(20)])

    found, used = serve(judge_of(), work)
    assert kinds(found) == ["transport"] * 20
    assert used == Usage(calls=1, failures={"transport": 1})


def test_who_joins_a_call_outlives_the_one_who_put_it(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = server.hang

    async def work(service: JudgeService) -> tuple[Reply[str], Reply[str], float]:
        await service._caller.ready()
        now = asyncio.get_running_loop().time()
        first = asyncio.create_task(service.reply(question("same"), until=now + 0.3))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(service.reply(question("same"), until=now + 5))
        early = await first
        server.script = echo(server)
        return early, await second, asyncio.get_running_loop().time() - now

    (early, late, took), used = serve(judge_of(), work)
    assert kinds([early]) == ["timeout"]
    assert late.value == "same"
    assert took < 3
    assert used.calls == 2


def test_a_call_that_nobody_waits_for_is_given_up(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = server.hang

    async def work(service: JudgeService) -> Reply[str]:
        await service._caller.ready()
        asked = [asyncio.create_task(service.reply(question("same"))) for _ in range(3)]
        while not server.requests:
            await asyncio.sleep(0.01)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        server.script = echo(server)
        soon = asyncio.get_running_loop().time() + 2
        return await service.reply(question("same"), until=soon)  # joins no dying call

    found, used = serve(judge_of(concurrency=1), work)  # and its place is free again
    assert found.value == "same"
    assert used.calls == 2


def test_only_readable_answers_are_kept(server: Any, judge_of: Make, question: Ask, cache_file: Path) -> None:
    texts = iter(["no json", '{"other": 1}', "[]", '{"word": "good"}', "odd"])
    server.script = lambda request: server.Reply(server.completion(next(texts)))

    async def work(service: JudgeService) -> list[Reply[str]]:
        found = [await service.reply(question("same")) for _ in range(5)]
        return [*found, await service.reply(question("other"))]

    found, used = serve(judge_of(), work)
    assert kinds(found) == ["unparsable", "unparsable", "unparsable", "", "", "unparsable"]
    assert [reply.value for reply in found[3:5]] == ["good", "good"]
    assert contents(cache_file).entries == 1
    details = [reply.answer.failure.detail for reply in found[:3] if reply.answer.failure]
    assert details[0].startswith("Expecting value")
    assert details[1] == "expected a word alone"
    assert used.calls == 5


def test_a_reader_that_stumbles_makes_a_reply_unparsable(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = lambda request: word(server)

    def read(text: str) -> str:
        return str(json.loads(text)["score"])

    found, used = serve(judge_of(), lambda service: service.reply(question(read=read)))
    assert found.answer.failure.detail == "KeyError: 'score'"
    assert used.failures == {"unparsable": 1}


def test_a_kept_answer_that_cannot_be_read_any_more_is_asked_for_again(
    server: Any, judge_of: Make, question: Ask
) -> None:
    server.script = lambda request: word(server)
    serve(judge_of(), lambda service: service.reply(question()))

    def strict(text: str) -> str:
        if json.loads(text)["word"] != "never":
            raise ValueError("today we are strict")
        return text

    found, used = serve(judge_of(), lambda service: service.reply(question(read=strict)))
    assert kinds([found]) == ["unparsable"]
    assert used.calls == 1


def test_options_that_a_server_does_not_take_are_remembered_by_the_next_process(
    server: Any, judge_of: Make, question: Ask
) -> None:
    def script(request: dict[str, Any]) -> Any:
        for option in ("seed", "response_format"):
            if option in request:
                return server.Reply({"error": {"message": f"unknown argument: {option}"}}, 400)
        return word(server)

    server.script = script
    _, used = serve(judge_of(), lambda service: service.reply(question()))
    assert used.calls == 1
    assert len(server.requests) == 3
    forget_caches()

    async def work(service: JudgeService) -> tuple[str, ...]:
        assert (await service.reply(question())).free
        assert service.left_out == ("response_format", "seed")
        await service.reply(question("new"))
        return service.left_out

    serve(judge_of(), work)
    assert len(server.requests) == 4


def test_the_deadline_counts_waiting_for_a_place(mute: str, question: Ask) -> None:
    judge = Judge(mute, "m", runs=1, timeout=0.5, deadline=0.8, retries=0, concurrency=2)

    async def work(service: JudgeService) -> tuple[list[Reply[str]], float]:
        await service._caller.ready()
        started = time.monotonic()
        asked = [service.reply(question(f"{number}")) for number in range(16)]
        return await asyncio.gather(*asked), time.monotonic() - started

    (found, took), used = serve(judge, work)
    assert took < 1.8
    assert kinds(found) == ["timeout"] * 16
    details = [reply.answer.failure.detail for reply in found if reply.answer.failure]
    assert details[:2] == ["no answer within 0.5 s, nor at any retry"] * 2
    assert re.match(r"no answer within 0\.\d+ s, retries included, after 0\.\d s of waiting", details[2])
    assert details[4] == "no place among 2 calls within the deadline"
    assert used.calls == 4


def test_who_waits_behind_a_patient_call_waits_no_longer_than_the_deadline(
    server: Any, judge_of: Make, question: Ask
) -> None:
    server.script = server.hang

    async def work(service: JudgeService) -> tuple[Reply[str], float]:
        await service._caller.ready()
        now = asyncio.get_running_loop().time()
        patient = asyncio.create_task(service.reply(question("a"), until=now + 4))
        await asyncio.sleep(0.05)
        found = await service.reply(question("b"), until=now + 0.4)
        took = asyncio.get_running_loop().time() - now
        patient.cancel()
        return found, took

    (found, took), _ = serve(judge_of(concurrency=1), work)
    assert found.answer.failure.detail == "no place among 1 calls within the deadline"
    assert took < 1.4


def test_the_client_is_imported_without_stopping_the_loop(nobody: str, question: Ask) -> None:
    """In a new process: the import takes longer than this deadline, and the deadline holds."""
    import subprocess
    import sys

    code = f"""
import asyncio, time
from skinflow_plugins.judging import Judge, Question, JudgeService

async def main():
    question = Question([{{"role": "user", "content": "a"}}], {{}}, "a", str)
    async with JudgeService(Judge({nobody!r}, "m", runs=1, deadline=0.05, cache="off")) as service:
        started = time.monotonic()
        reply = await service.reply(question)
        print(reply.answer.failure.kind, time.monotonic() - started)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kind, took = done.stdout.split()
    assert kind == "timeout"
    assert float(took) < 1


def test_a_busy_server_is_asked_again_and_the_attempts_counted(
    server: Any, judge_of: Make, question: Ask
) -> None:
    def script(request: dict[str, Any]) -> Any:
        if len(server.requests) < 3:
            return server.Reply({"error": {"message": "slow down"}}, 429, {"retry-after-ms": "20"})
        return word(server)

    server.script = script
    found, used = serve(judge_of(retries=3), lambda service: service.reply(question()))
    assert found.value == "yes"
    assert (used.calls, used.retries, used.failures) == (1, 2, {})


def test_retry_after_is_kept(server: Any, judge_of: Make, question: Ask) -> None:
    times = []

    def script(request: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        return server.Reply({}, 429, {"retry-after": "1"}) if len(times) == 1 else word(server)

    server.script = script
    found, _ = serve(judge_of(retries=1), lambda service: service.reply(question()))
    assert found.value == "yes"
    assert 0.95 < times[1] - times[0] < 4


def test_429_without_a_time_is_tried_again_with_growing_pauses(
    server: Any, judge_of: Make, question: Ask
) -> None:
    times = []

    def script(request: dict[str, Any]) -> Any:
        times.append(time.monotonic())
        return server.Reply({"error": {"message": "busy"}}, 429)

    server.script = script
    found, used = serve(judge_of(retries=2), lambda service: service.reply(question()))
    assert kinds([found]) == ["transport"]
    assert found.answer.failure.detail == "HTTP 429: busy" or "busy" in found.answer.failure.detail
    assert (used.calls, used.retries) == (1, 2)
    assert times[1] - times[0] > 0.3
    assert times[2] - times[1] > 0.7


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"body": {"error": {"message": "out of memory"}}, "status": 500}, "transport"),
        ({"body": b'{"choices": [{"mess'}, "unparsable"),
        ({"body": {"choices": [{"message": {"content": '{"word": "y'}}]}}, "unparsable"),
        ({"body": {"choices": []}, "broken": True}, "transport"),
        ({"body": b"<html>bad gateway</html>", "status": 502}, "transport"),
    ],
)
def test_broken_servers(
    server: Any, judge_of: Make, question: Ask, tmp_path: Path, reply: dict[str, Any], kind: str
) -> None:
    server.script = lambda request: server.Reply(**reply)

    async def work(service: JudgeService) -> Reply[str]:
        service.account_to(tmp_path / "run", "stage2")
        return await service.reply(question("please"))

    found, used = serve(judge_of(), work)
    assert kinds([found]) == [kind]
    assert used.failures == {kind: 1}
    (line,) = [
        json.loads(each) for each in (tmp_path / "run" / "judge_failures.jsonl").read_text().splitlines()
    ]
    assert (line["name"], line["kind"], line["question"], line["seed"]) == ("stage2", kind, "word", 0)
    assert line["asked"] == "please"
    assert line["detail"] == found.answer.failure.detail


def test_a_server_that_dies_midway_and_comes_back_is_used_again(
    server: Any, judge_of: Make, question: Ask, start: Callable[[int], Any], tmp_path: Path
) -> None:
    server.script = echo(server)
    port = server.port

    async def step(service: JudgeService, number: int) -> list[str]:
        asked = [service.reply(question(f"step {number} row {row}")) for row in range(8)]
        return kinds(await asyncio.gather(*asked))

    async def work(service: JudgeService) -> None:
        service.account_to(tmp_path, "a")
        assert await step(service, 0) == [""] * 8
        await asyncio.to_thread(server.die)
        assert set(await step(service, 1)) == {"transport"}
        calls = service.usage().calls
        assert await step(service, 2) == ["open"] * 8
        assert service.usage().calls == calls  # nobody was asked
        await asyncio.sleep(0.35)
        assert await step(service, 3) == ["transport"] + ["open"] * 7  # one probe, and it failed
        new = start(port)
        new.script = echo(new)
        await asyncio.sleep(0.75)
        assert await step(service, 4) == [""] * 8
        assert len(new.requests) == 8

    _, used = serve(judge_of(), work, Breaker(opens_after=8, cool_off=0.3))
    assert used.failures == {"transport": 9, "open": 15}
    lines = [json.loads(each) for each in (tmp_path / "judge_failures.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines].count("transport") == 9
    (opened,) = [line for line in lines if line["kind"] == "open"]
    assert "left alone after 8 failures in a row" in opened["detail"]


def test_the_probe_of_a_mute_server_costs_one_timeout(mute: str, question: Ask) -> None:
    judge = Judge(mute, "m", runs=1, timeout=0.3, deadline=1.0, retries=3)
    breaker = Breaker(opens_after=4, cool_off=0.2)

    async def step(service: JudgeService, number: int) -> tuple[list[str], float]:
        started = time.monotonic()
        asked = [service.reply(question(f"{number} {row}")) for row in range(8)]
        return kinds(await asyncio.gather(*asked)), time.monotonic() - started

    async def work(service: JudgeService) -> None:
        await service._caller.ready()
        found, took = await step(service, 0)
        assert found == ["timeout"] * 8
        assert took < 2
        found, took = await step(service, 1)
        assert found == ["open"] * 8
        assert took < 0.5
        await asyncio.sleep(0.25)
        found, took = await step(service, 2)
        assert sorted(found) == ["open"] * 7 + ["timeout"]
        assert 0.25 < took < 0.9

    serve(judge, work, breaker)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_answers_with_errors_opens_the_breaker_and_is_probed_with_one_request(
    server: Any, judge_of: Make, question: Ask, status: int
) -> None:
    server.script = lambda request: server.Reply({}, status, {"retry-after-ms": "1"})

    async def work(service: JudgeService) -> list[Reply[str]]:
        found = [await service.reply(question(f"{number}")) for number in range(5)]
        await asyncio.sleep(0.25)
        return [*found, await service.reply(question("probe"))]

    found, used = serve(judge_of(retries=2), work, Breaker(opens_after=3, cool_off=0.2))
    assert kinds(found) == ["transport"] * 3 + ["open"] * 2 + ["transport"]
    assert (used.calls, used.retries) == (4, 6)
    assert len(server.requests) == 10


def test_a_request_that_is_wrong_by_itself_opens_nothing(server: Any, judge_of: Make, question: Ask) -> None:
    def script(request: dict[str, Any]) -> Any:
        return server.Reply({"error": {"message": "context too long", "code": "content_filter"}}, 400)

    server.script = script

    async def work(service: JudgeService) -> list[Reply[str]]:
        return [await service.reply(question(f"{number}")) for number in range(6)]

    found, _ = serve(judge_of(), work, Breaker(opens_after=3))
    assert kinds(found) == ["refusal"] * 6
    server.script = lambda request: server.Reply({"error": {"message": "too long"}}, 413)
    found, _ = serve(judge_of(), work, Breaker(opens_after=3))
    assert kinds(found) == ["transport"] * 6


def test_who_waits_for_a_probe_waits_no_longer_than_the_deadline(mute: str, question: Ask) -> None:
    judge = Judge(mute, "m", runs=1, timeout=5.0, deadline=5.0, retries=0)
    breaker = Breaker(opens_after=1, cool_off=0.05)

    async def work(service: JudgeService) -> tuple[list[str], float]:
        await service._caller.ready()
        now = asyncio.get_running_loop().time()
        assert kinds([await service.reply(question("a"), until=now + 0.1)]) == ["timeout"]
        await asyncio.sleep(0.1)
        now = asyncio.get_running_loop().time()
        probe = asyncio.create_task(service.reply(question("b"), until=now + 1.0))
        await asyncio.sleep(0.05)
        found = await service.reply(question("c"), until=now + 0.4)
        took = asyncio.get_running_loop().time() - now
        await probe
        assert "gave no sign within the deadline" in found.answer.failure.detail
        return kinds([found]), took

    (found, took), _ = serve(judge, work, breaker)
    assert found == ["open"]
    assert took < 0.9


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_all_calls_would_meet_ends_them_at_once(
    server: Any, judge_of: Make, question: Ask, status: int
) -> None:
    server.script = lambda request: server.Reply({"error": {"message": "no"}}, status)

    async def work(service: JudgeService) -> list[Reply[str]]:
        return [await service.reply(question(f"{number}")) for number in range(20)]

    found, used = serve(judge_of(retries=3), work, Breaker())
    assert kinds(found) == ["transport"] + ["open"] * 19
    assert f"HTTP {status}" in found[5].answer.failure.detail
    assert len(server.requests) == used.calls == 1


def test_no_more_calls_in_a_minute_than_allowed(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = echo(server)
    judge = judge_of(requests_per_minute=120, deadline=2.0)  # a burst of six, then nearly two a second

    async def work(service: JudgeService) -> tuple[list[Reply[str]], float]:
        await service._caller.ready()
        started = time.monotonic()
        found = await asyncio.gather(*[service.reply(question(f"{number}")) for number in range(30)])
        return found, time.monotonic() - started

    (found, took), used = serve(judge, work)
    assert took < 3
    assert 8 <= used.calls <= 10
    late = [reply.answer.failure for reply in found if reply.answer.failure is not None]
    assert {failure.kind for failure in late} == {"timeout"}
    assert {failure.detail for failure in late} == {
        "the limits per minute leave no place within the deadline"
    }
    assert len(late) == 30 - used.calls


def test_retries_are_requests_too(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = lambda request: server.Reply({}, 500, {"retry-after-ms": "1"})
    judge = judge_of(requests_per_minute=120, retries=5, deadline=1.5)

    async def work(service: JudgeService) -> list[Reply[str]]:
        return [await service.reply(question(f"{number}")) for number in range(3)]

    found, used = serve(judge, work)  # twelve requests, where a burst is six: the third call waits too long
    assert kinds(found) == ["transport", "transport", "timeout"]
    assert (used.calls, used.retries) == (2, 10)
    assert "limits per minute" in found[2].answer.failure.detail


def test_tokens_per_minute(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = echo(server)  # 110 tokens each
    judge = judge_of(tokens_per_minute=6000, deadline=1.0, concurrency=1)

    async def work(service: JudgeService) -> list[Reply[str]]:
        await service._caller.ready()
        return await asyncio.gather(*[service.reply(question(f"{number}")) for number in range(40)])

    found, used = serve(judge, work)
    assert 1 <= used.calls <= 6  # a burst of 300 tokens, then 95 in a second
    assert kinds(found).count("timeout") == 40 - used.calls


def test_no_more_calls_at_a_time_than_allowed(server: Any, judge_of: Make, question: Ask) -> None:
    gate = threading.Barrier(4)

    def script(request: dict[str, Any]) -> Any:
        gate.wait(5)
        return word(server)

    server.script = script

    async def work(service: JudgeService) -> list[Reply[str]]:
        return await asyncio.gather(*[service.reply(question(f"{number}")) for number in range(16)])

    found, _ = serve(judge_of(concurrency=4), work)
    assert kinds(found) == [""] * 16
    assert server.most_busy == 4


KEY = "sk-very/secret+0123456789"


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_the_key_is_nowhere(
    server: Any,
    judge_of: Make,
    question: Ask,
    cache_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    status: int,
) -> None:
    """A server that quotes the header in every way: what we keep, write, say and log is without it."""
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    def script(request: dict[str, Any]) -> Any:
        sent = server.headers[-1]["authorization"]
        if status == 200 and request["messages"][0]["content"] == "good":
            return word(server, f"you sent {sent}")
        if status == 200:
            return server.Reply(server.completion(f"not json: {sent}"))
        message = f"wrong {sent} {sent.replace('/', '%2F').replace('+', '%2B')}"
        return server.Reply({"error": {"message": message, "code": sent}}, status, {"X-Echo": sent})

    server.script = script

    async def work(service: JudgeService) -> list[Reply[str]]:
        service.account_to(tmp_path, "a")
        return [await service.reply(question(text)) for text in ("good", "bad")]

    judge = judge_of(key_variable="MY_KEY")
    found, used = serve(judge, work)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    kept = b"".join(file.read_bytes() for file in cache_file.parent.iterdir())
    written = (tmp_path / "judge_failures.jsonl").read_text()
    if status == 200:
        assert found[0].value == "you sent Bearer (key)"
        assert b"you sent Bearer (key)" in kept
        assert "not json: Bearer (key)" in written
    elif status != 401:
        assert "(key)" in written
    spellings = (KEY, KEY.replace("/", "%2F").replace("+", "%2B"), KEY.replace("/", "\\/"), "0123456789")
    for text in (repr(found), repr(judge), repr(used), written, caplog.text, *capfd.readouterr()):
        assert not any(spelling in text for spelling in spellings)
    assert KEY.encode() not in kept


def test_a_short_key_does_not_spoil_replies(
    server: Any, judge_of: Make, question: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "or")
    server.script = lambda request: word(server, "word for (or) word")
    found, _ = serve(judge_of(key_variable="MY_KEY"), lambda service: service.reply(question()))
    assert found.value == "word for ((key)) word"


def test_texts_that_no_body_can_hold(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = echo(server)
    texts = ["a \ud800 b", "null \x00 byte", "<|image_pad|>" * 10, "x" * 400_000]

    async def work(service: JudgeService) -> list[Reply[str]]:
        return [await service.reply(question(text)) for text in texts]

    found, _ = serve(judge_of(), work)
    assert [reply.value for reply in found] == ["a ? b", *texts[1:]]


def test_reach(server: Any, judge_of: Make) -> None:
    server.script = lambda request: server.Reply(server.completion("I would rather not", refusal="no"))
    asyncio.run(reach(judge_of(seed=11)))  # it answers, and that is all that is asked
    (request,) = server.requests
    assert request["max_tokens"] == 16


def test_a_judge_that_was_reached_is_used_again(server: Any, judge_of: Make, question: Ask) -> None:
    server.script = lambda request: server.Reply({}, 401)

    async def work(service: JudgeService) -> list[Reply[str]]:
        found = [await service.reply(question(f"{number}")) for number in range(2)]
        server.script = echo(server)
        await service.reach()
        return [*found, await service.reply(question("now"))]

    found, _ = serve(judge_of(), work, Breaker())
    assert kinds(found) == ["transport", "open", ""]


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_judge_that_cannot_be_reached_says_why(server: Any, judge_of: Make, status: int) -> None:
    server.script = lambda request: server.Reply({"error": {"message": "because"}}, status)
    with pytest.raises(WorkFailed) as caught:
        asyncio.run(reach(judge_of(seed=12)))
    assert str(caught.value).startswith(
        f"the judge examiner at {server.url} cannot be asked: transport: HTTP"
    )
    assert str(status) in str(caught.value)


def test_nobody_to_reach(nobody: str, mute: str) -> None:
    with pytest.raises(WorkFailed, match="cannot be asked: transport: ConnectError"):
        asyncio.run(reach({"endpoint": nobody, "model": "m", "retries": 0}))
    with pytest.raises(WorkFailed, match=r"cannot be asked: timeout: no answer within 0\.2 s"):
        asyncio.run(reach({"endpoint": mute, "model": "m", "retries": 0, "timeout": 0.2}))


def test_one_service_for_a_judge_and_a_loop(judge_of: Make, server: Any, question: Ask) -> None:
    server.script = echo(server)
    judge, other = judge_of(seed=21), judge_of(seed=22)

    async def look() -> JudgeService:
        assert service_of(judge) is service_of(judge)
        assert service_of(judge) is not service_of(other)
        return service_of(judge)

    first, second = asyncio.run(look()), asyncio.run(look())
    assert first is not second
    with pytest.raises(RuntimeError):
        service_of(judge)  # in no loop


def test_a_loop_in_a_thread_of_its_own(judge_of: Make, server: Any, question: Ask, tmp_path: Path) -> None:
    """As in training: one loop for the whole run, and the trainer reads the usage from its own thread."""
    server.script = echo(server)
    judge = judge_of(seed=31)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def step(number: int) -> list[Reply[str]]:
        service = service_of(judge)
        await service.close_with_loop()
        return await asyncio.gather(*[service.reply(question(f"{number} {row}")) for row in range(4)])

    account_to(judge, tmp_path, "stage1")
    before = usage_of(judge)
    for number in (0, 1, 0):
        found = asyncio.run_coroutine_threadsafe(step(number), loop).result(10)
        assert kinds(found) == [""] * 4
        used, before = usage_of(judge) - before, usage_of(judge)
        assert (used.calls, used.hits) == ((0, 4) if len(server.requests) == 8 and number == 0 else (4, 0))
    assert service_of(judge, loop=loop).usage() == before
    server.script = lambda request: server.Reply({}, 500)
    asyncio.run_coroutine_threadsafe(step(2), loop).result(10)
    assert len((tmp_path / "judge_failures.jsonl").read_text().splitlines()) == 4
    asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_nothing_stays_open_behind_asyncio_run(judge_of: Make, server: Any, question: Ask) -> None:
    server.script = echo(server)
    judge = judge_of(seed=41)

    async def once() -> Any:
        service = service_of(judge)
        await service.close_with_loop()
        await service.reply(question())
        assert service._caller.connected
        return service

    service = asyncio.run(once())
    assert not service._caller.connected


def test_a_cache_of_another_program_is_an_error_of_the_user(judge_of: Make, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "theirs.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE a (b)")
    connection.commit()
    connection.close()

    async def made() -> None:
        JudgeService(judge_of(cache=str(path)))

    with pytest.raises(InputError, match="another program"):
        asyncio.run(made())


def test_a_cache_that_cannot_be_written_costs_calls_and_no_more(
    server: Any, judge_of: Make, question: Ask, tmp_path: Path
) -> None:
    server.script = echo(server)
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "judge.sqlite3"
    with pytest.warns(RuntimeWarning, match="paid for, again"):
        found, used = serve(judge_of(cache=str(path)), lambda service: service.reply(question()))
    assert found.value == "one"
    assert used.calls == 1
    assert cache_at(path).failures >= 1

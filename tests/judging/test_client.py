import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from skinflow_plugins.judging import Judge
from skinflow_plugins.judging.client import Answer, Client

MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
Make = Callable[..., Judge]


def ask(judge: Judge, times: int = 1, seed: int = 0) -> list[Answer]:
    async def asking() -> list[Answer]:
        async with Client(judge) as client:
            return [await client.ask(MESSAGES, schema={"type": "object"}, seed=seed) for _ in range(times)]

    return asyncio.run(asking())


def failure(judge: Judge) -> tuple[str, str]:
    (answer,) = ask(judge)
    assert answer.failure is not None
    return answer.failure.kind, answer.failure.detail


def test_a_good_answer(server: Any, judge_of: Make) -> None:
    server.script = lambda request: server.Reply(server.completion("hello"))
    (answer,) = ask(judge_of(temperature=0.3, max_tokens=99), seed=5)
    assert answer == Answer("hello", None, 100, 10)
    (request,) = server.requests
    assert server.paths == ["/v1/chat/completions"]
    assert (request["model"], request["messages"]) == ("examiner", MESSAGES)
    assert (request["temperature"], request["seed"], request["max_tokens"]) == (0.3, 5, 99)
    form = request["response_format"]
    assert form["type"] == "json_schema"
    assert form["json_schema"] == {"name": "verdicts", "strict": True, "schema": {"type": "object"}}


def test_a_busy_server_is_asked_again(server: Any, judge_of: Make) -> None:
    def script(request: dict[str, Any]) -> Any:
        if len(server.requests) < 3:
            error = {"error": {"message": "slow down", "code": "rate_limit"}}
            return server.Reply(error, 429, {"retry-after-ms": "20"})
        return server.Reply(server.completion("hello"))

    server.script = script
    assert ask(judge_of(retries=2))[0].text == "hello"
    assert len(server.requests) == 3


def test_a_server_that_stays_broken(server: Any, judge_of: Make) -> None:
    server.script = lambda request: server.Reply(
        {"error": {"message": "out of memory"}}, 500, {"retry-after-ms": "5"}
    )
    kind, detail = failure(judge_of(retries=2))
    assert kind == "transport"
    assert detail.startswith("HTTP 500")
    assert "out of memory" in detail
    assert len(server.requests) == 3


def test_a_server_that_hangs(server: Any, judge_of: Make) -> None:
    server.script = server.hang
    started = time.monotonic()
    assert failure(judge_of(timeout=0.2)) == ("timeout", "no answer within 0.2 s, nor at any retry")
    assert time.monotonic() - started < 3


def test_the_deadline_holds_over_all_retries(server: Any, judge_of: Make) -> None:
    server.script = lambda request: server.Reply({}, 429, {"retry-after": "60"})
    started = time.monotonic()
    kind, detail = failure(judge_of(retries=3, deadline=0.3))
    assert (kind, detail) == ("timeout", "no answer within 0.3 s, retries included")
    assert time.monotonic() - started < 3


def test_a_server_that_dies_in_the_middle_of_an_answer(server: Any, judge_of: Make) -> None:
    server.script = lambda request: server.Reply(server.completion("hello"), broken=True)
    kind, detail = failure(judge_of())
    assert kind == "transport"
    assert "RemoteProtocolError" in detail


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        kind, detail = failure(Judge(address, "m", runs=1, retries=0))
    assert kind == "transport"
    assert "ConnectError" in detail


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "ALL_PROXY"])
def test_no_proxy_stands_before_this_machine(
    server: Any, judge_of: Make, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.script = lambda request: server.Reply(server.completion("hello"))
    assert ask(judge_of())[0].text == "hello"


@pytest.mark.parametrize(
    ("text", "options", "detail"),
    [
        (None, {"refusal": "I will not grade this."}, "I will not grade this."),
        ("", {"finish": "content_filter"}, "stopped by the server's content filter"),
    ],
)
def test_refusals(
    server: Any, judge_of: Make, text: str | None, options: dict[str, str], detail: str
) -> None:
    server.script = lambda request: server.Reply(server.completion(text, **options))
    assert failure(judge_of()) == ("refusal", detail)


def test_a_filter_that_answers_with_a_status(server: Any, judge_of: Make) -> None:
    error = {"error": {"message": "filtered", "code": "content_filter"}}
    server.script = lambda request: server.Reply(error, 400)
    assert failure(judge_of())[0] == "refusal"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [',
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"index": 0}]}',
        b'{"choices": null, "usage": 7}',
        b"\xff\xfe",
    ],
)
def test_bodies_that_are_no_chat_completion(server: Any, judge_of: Make, body: bytes) -> None:
    server.script = lambda request: server.Reply(body)
    kind, detail = failure(judge_of())
    assert kind == "unparsable"
    assert "no chat completion" in detail


def test_a_page_in_place_of_json(server: Any, judge_of: Make) -> None:
    server.script = lambda request: server.Reply(b"<html>hi</html>", headers={"Content-Type": "text/html"})
    assert failure(judge_of())[0] == "unparsable"


def test_an_answer_that_was_cut_off_says_what_to_do_and_still_cost_tokens(
    server: Any, judge_of: Make
) -> None:
    server.script = lambda request: server.Reply(server.completion("{", finish="length"))
    (answer,) = ask(judge_of(max_tokens=16))
    assert answer.failure is not None
    assert answer.failure.kind == "unparsable"
    assert "max_tokens = 16; allow more" in answer.failure.detail
    assert (answer.prompt_tokens, answer.completion_tokens) == (100, 10)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("response_format", "'response_format' of type 'json_schema' is not supported"),
        ("response_format", "extra fields are not permitted"),
        ("seed", "Unrecognized request argument supplied: seed"),
        ("temperature", "Unsupported value: 'temperature' does not support 0 with this model."),
        ("max_tokens", "'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
    ],
)
def test_an_option_that_the_server_does_not_take_is_left_out_from_then_on(
    server: Any, judge_of: Make, option: str, message: str
) -> None:
    def script(request: dict[str, Any]) -> Any:
        if option in request:
            return server.Reply({"error": {"message": message}}, 400)
        return server.Reply(server.completion("hello"))

    server.script = script
    first, second = ask(judge_of(), times=2)
    assert first.text == second.text == "hello"
    assert [option in request for request in server.requests] == [True, False, False]
    assert option != "max_tokens" or server.requests[1]["max_completion_tokens"] == 2048


def test_a_request_that_is_wrong_for_another_reason_forgets_no_option(server: Any, judge_of: Make) -> None:
    def script(request: dict[str, Any]) -> Any:
        if len(server.requests) < 4:
            return server.Reply({"error": {"message": "context too long: lower max_tokens"}}, 400)
        return server.Reply(server.completion("hello"))

    server.script = script
    first, second = ask(judge_of(), times=2)
    assert first.failure is not None
    assert first.failure.kind == "transport"
    assert "context too long" in first.failure.detail
    assert len(server.requests) == 4  # three for the first: whole, and twice with one option less
    assert second.text == "hello"
    assert {"response_format", "max_tokens"} <= set(server.requests[3])


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (401, "HTTP 401: the server does not take the key in MY_KEY"),
        (403, "HTTP 403: the server does not take the key in MY_KEY"),
        (404, "is the model's name right, and does the address end in /v1?"),
        (307, "HTTP 307"),
    ],
)
def test_the_key_is_never_shown(
    server: Any,
    judge_of: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    detail: str,
) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("MY_KEY", key)
    caplog.set_level(logging.DEBUG)
    error = {"error": {"message": f"Incorrect API key provided: {key} (sk-very-*)"}}
    server.script = lambda request: server.Reply(error, status, {"Location": "/elsewhere"})
    judge = judge_of(key_variable="MY_KEY")
    (answer,) = ask(judge)
    assert server.headers[0]["authorization"] == f"Bearer {key}"
    assert len(server.requests) == 1
    assert answer.failure is not None
    assert answer.failure.hopeless
    assert detail in answer.failure.detail
    for text in (repr(answer), repr(judge), caplog.text, repr(Client(judge)), repr(vars(judge_of))):
        assert key not in text


def test_a_reply_that_quotes_the_key_is_kept_without_it(
    server: Any, judge_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    server.script = lambda request: server.Reply(server.completion("sk-very-secret {", finish="length"))
    (answer,) = ask(judge_of(key_variable="MY_KEY"))
    assert answer.text == "(key) {"


def test_a_key_of_another_purpose_is_not_sent(
    server: Any, judge_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin")
    server.script = lambda request: server.Reply(server.completion("hello"))
    ask(judge_of())
    assert server.headers[0]["authorization"] == "Bearer none"
    assert "sk-admin" not in str(server.headers)

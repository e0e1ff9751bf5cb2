import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from skinflow_plugins.declare import NoVerdict
from skinflow_plugins.errors import InputError
from skinflow_plugins.judging import Judge, Question, ask, judge_items

Ask = Callable[..., Question[str]]


@pytest.fixture
def settings(server: Any) -> Callable[..., dict[str, Any]]:
    """The settings of a judge at the server, as a recipe has them; each test's judge is another one."""

    def made(**options: Any) -> dict[str, Any]:
        return {"endpoint": server.url, "model": "examiner", "retries": 0, "deadline": 5.0, **options}

    return made


def word(server: Any, text: str) -> Any:
    return server.Reply(server.completion(json.dumps({"word": text})))


def test_the_replies_of_all_runs(server: Any, settings: Callable[..., Any], question: Ask) -> None:
    server.script = lambda request: word(server, f"seed {request['seed']}")
    assert asyncio.run(ask(settings(runs=3, seed=4), question())) == ["seed 4", "seed 5", "seed 6"]
    assert asyncio.run(ask(settings(), question())) == ["seed 0"]
    assert asyncio.run(ask(Judge(server.url, "examiner", runs=1, seed=9), question())) == ["seed 9"]


def test_runs_that_fail_are_left_out(server: Any, settings: Callable[..., Any], question: Ask) -> None:
    def script(request: dict[str, Any]) -> Any:
        return word(server, "good") if request["seed"] == 1 else server.Reply({}, 500)

    server.script = script
    assert asyncio.run(ask(settings(runs=3), question())) == ["good"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ({"body": {"error": {"message": "full"}}, "status": 500}, "no verdict: transport: HTTP 500"),
        ({"body": {}, "status": 401}, "no verdict: transport: HTTP 401: the server does not take the key"),
        ({"body": b"{"}, "no verdict: unparsable: the server's reply is no chat completion"),
    ],
)
def test_no_verdict_names_kind_and_reason(
    server: Any, settings: Callable[..., Any], question: Ask, reply: dict[str, Any], text: str
) -> None:
    server.script = lambda request: server.Reply(**reply)
    with pytest.raises(NoVerdict) as caught:
        asyncio.run(ask(settings(), question()))
    assert text in str(caught.value)
    with pytest.raises(NoVerdict, match="no verdict in each of 2 runs, the first: "):
        asyncio.run(ask(settings(runs=2), question()))


def test_a_refusal_is_no_verdict(server: Any, settings: Callable[..., Any], question: Ask) -> None:
    server.script = lambda request: server.Reply(server.completion(None, refusal="I will not."))
    with pytest.raises(NoVerdict, match="refusal: I will not"):
        asyncio.run(ask(settings(), question()))


def test_wrong_settings_are_an_error_of_the_user(question: Ask) -> None:
    with pytest.raises(InputError, match="did you mean 'endpoint'"):
        asyncio.run(ask({"endpont": "http://127.0.0.1/v1", "model": "m"}, question()))


def test_a_step_costs_no_more_than_the_deadline(mute: str, nobody: str, question: Ask) -> None:
    """Sixty-four rows at eight places, and a server that never answers, or is not there."""

    async def step(judge: dict[str, Any]) -> float:
        started = time.monotonic()
        asked = [ask(judge, question(f"row {row}")) for row in range(64)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, NoVerdict) for each in found)
        return time.monotonic() - started

    for endpoint in (mute, nobody):
        judge = {"endpoint": endpoint, "model": "m", "timeout": 0.4, "deadline": 1.0, "concurrency": 8}
        assert asyncio.run(step(judge)) < 2.0


async def judged(settings: dict[str, Any]) -> list[str]:
    return list(await judge_items(settings, "melanoma", ["nevus", "", "melanoma", "x" * 3]))


def test_verdicts_on_ranked_items(server: Any, settings: Callable[..., Any]) -> None:
    assert asyncio.run(judged(settings())) == ["critical", "wrong", "correct", "critical"]
    (request,) = server.requests
    assert [entry["text"] for entry in server.data_of(request)["listed"]] == ["nevus", "melanoma", "xxx"]
    assert asyncio.run(judge_items(settings(), "melanoma", ["", " "])) == ["wrong", "wrong"]
    assert asyncio.run(judge_items(settings(), "melanoma", [])) == []
    assert len(server.requests) == 1


def test_the_majority_of_runs_and_the_worse_of_equals(server: Any, settings: Callable[..., Any]) -> None:
    words = {0: ("correct", "correct"), 1: ("wrong", "correct"), 2: ("correct", "critical")}

    def script(request: dict[str, Any]) -> Any:
        return server.Reply(server.completion(server.verdicts(words[request["seed"]])))

    server.script = script
    found = asyncio.run(judge_items(settings(runs=3), "melanoma", ["nevus", "melanoma"]))
    assert found == ["correct", "correct"]
    found = asyncio.run(judge_items(settings(runs=2), "melanoma", ["nevus", "melanoma"]))
    assert found == ["wrong", "correct"]


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, skinflow_plugins.judging as judging\n"
        "assert set(judging.__all__) <= {*vars(judging), *judging._HOME}, 'a public name has no home'\n"
        "print(sorted({'numpy', 'openai', 'yaml', 'sqlite3', 'PIL'} & set(sys.modules)))\n"
        "from skinflow_plugins.judging import ask, service_of\n"
        "print(sorted({'numpy', 'openai', 'yaml', 'PIL'} & set(sys.modules)))\n"
        "import skinflow_plugins.judging.agreement\n"
        "assert callable(judging.agreement)\n"
        "assert all(getattr(judging, name) is not None for name in judging.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "[]"]

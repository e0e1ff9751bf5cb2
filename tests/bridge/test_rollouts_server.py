"""A rollout server that dies, hangs or fails, or comes late: what the trainer says, and how soon."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from skinflow_plugins.bridge.rollouts import server
from skinflow_plugins.bridge.rollouts.server import GRACE, guard, wait_for
from skinflow_plugins.errors import InputError, WorkFailed

LOST = "the rollout server at {where} was lost: {what}"
AGAIN = "start it again with `skinflow rollout`; `skinflow run` then goes on from the last checkpoint"


class Server(ThreadingHTTPServer):
    """One whose behaviour is a word: `fine`, `hang`, `error`, or `die` in the middle of an answer."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, behaviour: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.behaviour, self.ended, self.asked = behaviour, threading.Event(), list[str]()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def end(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.server.asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behaviour = "fine" if self.path == "/health" else self.server.behaviour
        if behaviour == "hang":
            self.server.ended.wait(60)
            return
        if behaviour == "die":
            self.close_connection = True
            return
        body = b'{"world_size": 1}' if behaviour == "fine" else b"out of memory"
        self.send_response(200 if behaviour == "fine" else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def serving(behaviour: str, port: int = 0) -> Iterator[Server]:
    running = Server(behaviour, port)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(autouse=True)
def without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


class Client:
    """As much of swift's client as is guarded: sessions, addresses, and calls that ask each server."""

    def __init__(self, *urls: str) -> None:
        self.base_urls = list(urls)
        self.sessions = [requests.Session() for _ in urls]

    def _ask(self, path: str) -> list[Any]:
        found = []
        for session, url in zip(self.sessions, self.base_urls, strict=True):
            response = session.post(f"{url}/{path}/", json={})
            if response.status_code != 200:
                raise RuntimeError(f"Server failed: {response.status_code}, {response.text}")
            found.append(response.json())
        return found

    def infer(self, question: str, *, use_tqdm: bool = False) -> tuple[str, bool, list[Any]]:
        return question, use_tqdm, self._ask("infer")

    def update_named_param(self) -> Any:
        return self._ask("update_named_param")

    def reset_prefix_cache(self) -> Any:
        return self._ask("reset_prefix_cache")

    def get_engine_type(self) -> Any:
        return self._ask("get_engine_type")

    def close_communicator(self) -> Any:
        return self._ask("close_communicator")


def guarded(*urls: str, seconds: float = 0.5) -> Any:
    client = Client(*urls)
    guard(client, seconds)
    return client


# --- calls ----------------------------------------------------------------------------------------------


def test_a_server_that_answers_is_not_disturbed() -> None:
    with serving("fine") as running:
        client = guarded(running.url)
        assert client.infer("which?", use_tqdm=True) == ("which?", True, [{"world_size": 1}])
        assert client.update_named_param() == [{"world_size": 1}]
        assert running.asked == ["/infer/", "/update_named_param/"]


@pytest.mark.parametrize("name", ["infer", "update_named_param", "reset_prefix_cache"])
def test_a_server_that_hangs(name: str) -> None:
    with serving("hang") as running:
        client = guarded(running.url)
        started = time.monotonic()
        with pytest.raises(WorkFailed) as info:
            getattr(client, name)(*(["which?"] if name == "infer" else []))
        assert time.monotonic() - started < 5
        text = str(info.value)
        assert text.startswith(LOST.format(where=running.url, what=f"{name} failed: "))
        assert "Read timed out. (read timeout=0.5)" in text
        assert AGAIN in text
        assert isinstance(info.value.__cause__, requests.ReadTimeout)


def test_a_server_that_dies() -> None:
    with serving("die") as running:
        client = guarded(running.url)
        with pytest.raises(WorkFailed, match=r"infer failed: .*Connection aborted") as info:
            client.infer("which?")
        assert AGAIN in str(info.value)
    with pytest.raises(WorkFailed, match=r"infer failed: .*(refused|reset)"):
        client.infer("which?")


def test_a_server_that_fails() -> None:
    with serving("error") as running:
        with pytest.raises(WorkFailed, match="infer failed: Server failed: 500, out of memory") as info:
            guarded(running.url).infer("which?")
        assert AGAIN in str(info.value)


def test_one_of_several() -> None:
    """All are named: swift asks them at once, and does not say which one failed."""
    with serving("fine") as one, serving("hang") as other:
        with pytest.raises(WorkFailed) as info:
            guarded(one.url, other.url).infer("which?")
        assert f"at {one.url}, {other.url} was lost" in str(info.value)


def test_calls_that_start_a_connection_have_a_limit_too() -> None:
    """They are not ours to explain, but shall not wait for ever."""
    with serving("hang") as running, pytest.raises(requests.ReadTimeout):
        guarded(running.url).get_engine_type()


def test_what_a_user_does_is_no_loss() -> None:
    client = Client()

    def interrupted() -> None:
        raise KeyboardInterrupt

    client.infer = interrupted  # type: ignore[method-assign,assignment]
    guard(client, 1)
    with pytest.raises(KeyboardInterrupt):
        client.infer()  # type: ignore[call-arg]


def test_a_lost_server_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """swift registers `close_communicator` for the end of the process, which is when the user reads."""
    monkeypatch.setattr(server, "CONNECT", 0.2)
    with serving("hang") as running:
        client = guarded(running.url, seconds=2.0)
        with pytest.raises(WorkFailed):
            client.infer("which?")
        started = time.monotonic()
        with pytest.raises(requests.RequestException):
            client.close_communicator()
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_that_ends_calls_its_watchman_off(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[tuple[Any, ...]] = []
    monkeypatch.setattr(server, "_end", lambda *arguments: watched.append(arguments))

    def call() -> str:
        until = time.monotonic() + 5
        while not watched and time.monotonic() < until:
            time.sleep(0.01)
        assert not watched[0][0].is_set()
        if fails:
            raise ValueError("no")
        return "done"

    client = SimpleNamespace(base_urls=["http://a:1"], sessions=[])
    found = server._guarded(client, call, "infer", 7.0)
    if fails:
        with pytest.raises(WorkFailed, match="infer failed: no"):
            found()
    else:
        assert found() == "done"
    ((ended, seconds, where, name),) = watched
    assert ended.is_set()
    assert (seconds, where, name) == (7.0 + GRACE, "http://a:1", "infer")


# --- a call that never returns ----------------------------------------------------------------------------

NEVER = """
import threading, time
from types import SimpleNamespace
from skinflow_plugins.bridge.rollouts import server

server.GRACE = 0.3
client = SimpleNamespace(sessions=[], base_urls=["http://a:1"], update_flattened_params=lambda: broadcast())
broadcast = threading.Event().wait  # what no signal of another thread gets into
server.guard(client, 0.2)
if {quick}:
    broadcast = lambda: None
    client.update_flattened_params()
    time.sleep(1)
    print("alive", flush=True)
else:
    try:
        client.update_flattened_params()
    finally:
        print("never reached", flush=True)
"""


def never(quick: bool) -> subprocess.CompletedProcess[str]:
    code = NEVER.format(quick=quick)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_call_that_never_returns_ends_the_process() -> None:
    done = never(quick=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert LOST.format(where="http://a:1", what="update_flattened_params took more than 0.5 s") in done.stderr
    assert AGAIN in done.stderr


def test_a_call_that_returns_does_not() -> None:
    done = never(quick=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


# --- waiting for a server ---------------------------------------------------------------------------------


def test_a_server_that_is_there() -> None:
    said: list[str] = []
    with serving("fine") as one, serving("fine") as other:
        wait_for([one.url, other.url], 5, said.append)
        assert one.asked == other.asked == ["/health"]
    assert said == []


def test_a_server_that_comes_late() -> None:
    with serving("fine") as running:
        address = running.address
    said: list[str] = []
    later: list[Server] = []
    timer = threading.Timer(0.5, lambda: later.append(Server("fine", address[1])))
    timer.start()
    try:
        wait_for([f"http://127.0.0.1:{address[1]}"], 20, said.append)
    finally:
        timer.join()
        later[0].end()
    assert said == [f"waiting for the rollout server at http://127.0.0.1:{address[1]}, up to 20 s"]


def test_no_server() -> None:
    with serving("fine") as running, serving("fine") as gone:
        gone.end()
        with pytest.raises(InputError) as info:
            wait_for([running.url, gone.url], 0.2, lambda _: None)
    (problem,) = info.value.problems
    assert problem.message == f"no rollout server answered at {gone.url} within 0.2 s"
    assert problem.path == "rollouts"
    assert "start it with `skinflow rollout` and the same recipe and folder" in problem.hint


def test_a_server_without_a_model_yet_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([503, 503, 200])
    monkeypatch.setattr(requests, "get", lambda *_, **__: SimpleNamespace(status_code=next(answers)))
    monkeypatch.setattr(server.time, "sleep", lambda _: None)
    said: list[str] = []
    wait_for(["http://a:1"], 5, said.append)
    assert next(answers, None) is None
    assert len(said) == 1


def test_a_server_that_hangs_at_its_health_is_given_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECT", 3.0)
    monkeypatch.setattr(Handler, "answer", lambda self: self.server.ended.wait(60))
    monkeypatch.setattr(Handler, "do_GET", Handler.answer)
    with serving("hang") as running:
        started = time.monotonic()
        with pytest.raises(InputError, match=r"within 0.5 s"):
            wait_for([running.url], 0.5, lambda _: None)
        assert time.monotonic() - started < 2


# --- swift's own client -----------------------------------------------------------------------------------


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """swift's client of a server that is healthy at first, guarded."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def get(kind: str, running: Server, seconds: float = 0.5) -> Any:
        from swift.rlhf_trainers import vllm_client

        found = getattr(vllm_client, kind)(hosts=["127.0.0.1"], server_ports=[running.server_port])
        guard(found, seconds)
        return found

    return get


def asked() -> list[Any]:
    from swift.infer_engine.protocol import RolloutInferRequest

    return [RolloutInferRequest(messages=[{"role": "user", "content": "which?"}])]


@pytest.mark.vllm
@pytest.mark.parametrize("kind", ["VLLMInferClient", "VLLMClient"])
def test_swifts_client_and_a_server_that_is_lost(kind: str, client: Callable[..., Any]) -> None:
    with serving("hang") as running:
        guarded_client = client(kind, running)
        started = time.monotonic()
        with pytest.raises(WorkFailed, match=r"infer failed: .*Read timed out") as info:
            guarded_client.infer(asked())
        assert time.monotonic() - started < 5
        assert AGAIN in str(info.value)
        assert f"at {running.url} was lost" in str(info.value)
        running.behaviour = "error"
        with pytest.raises(WorkFailed, match=r"infer failed: .*Server 0 failed: 500, out of memory"):
            guarded_client.infer(asked())
    with pytest.raises(WorkFailed, match=r"infer failed: .*Connection"):
        guarded_client.infer(asked())


@pytest.mark.vllm
def test_every_guarded_call_is_one_of_swifts(client: Callable[..., Any]) -> None:
    """And no call of swift's that moves weights or asks questions is left out."""
    from swift.rlhf_trainers.vllm_client import VLLMClient

    calls = {name for name in vars(VLLMClient) | vars(VLLMClient.__base__) if not name.startswith("_")}
    once = {"init_communicator", "close_communicator", "check_server", "get_engine_type"}
    once |= {"get_model_state_keys"}  # asked before the first weights with LoRA
    made_of_others = {"update_model_params"}
    assert set(server._CALLS) == calls - once - made_of_others


@pytest.mark.vllm
def test_weights_for_a_server_that_hangs(client: Callable[..., Any]) -> None:
    import torch

    with serving("hang") as running:
        guarded_client = client("VLLMClient", running)
        started = time.monotonic()
        with pytest.raises(WorkFailed, match=r"update_named_param failed: .*Read timed out"):
            guarded_client.update_named_param("a", torch.zeros(1))
        with pytest.raises(WorkFailed, match="reset_prefix_cache failed"):
            guarded_client.reset_prefix_cache()
        assert time.monotonic() - started < 10

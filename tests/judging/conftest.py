"""A chat server on this machine that answers as a test tells it to, and the predictions that are judged."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from skinflow_plugins.data.record import Prediction
from skinflow_plugins.diagnosis import Taxonomy, load_taxonomy
from skinflow_plugins.judging import Judge, Question, Unreadable
from skinflow_plugins.judging.cache import forget_caches


@dataclass(frozen=True)
class Reply:
    """What the server sends: a status and a body, or a break in the middle of it."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False


Script = Callable[[dict[str, Any]], Reply]


def completion(text: str | None, *, refusal: str | None = None, finish: str = "stop") -> dict[str, Any]:
    """A chat completion of the protocol."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "examiner",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def data_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The block of data in a request, decoded."""
    found = re.fullmatch(r"<data>\n(.*)\n</data>\n[^<>]*", request["messages"][1]["content"])
    assert found is not None
    block: dict[str, Any] = json.loads(found[1])
    return block


def verdicts(words: Sequence[str]) -> str:
    """The reply that gives these verdicts."""
    return json.dumps({"verdicts": [{"item": n, "verdict": word} for n, word in enumerate(words, start=1)]})


def honest(request: dict[str, Any]) -> Reply:
    """Correct for the reference, a subtype for what ends in it, critical for melanoma, else wrong."""
    block = data_of(request)
    truth, words = block["reference"], []
    for entry in block["listed"]:
        if entry["text"] == truth:
            words.append("correct")
        elif entry["text"].endswith(truth):
            words.append("subtype")
        else:
            words.append("critical" if "melanoma" in (entry["text"], truth) else "wrong")
    return Reply(completion(verdicts(words)))


class _Quiet(ThreadingHTTPServer):
    """Says nothing of connections that a client broke off; the tests are about such clients."""

    request_queue_size = 128  # with the default of 5, a burst of connections waits a second for a resent SYN

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class ChatServer:
    """The server: set `script` to say how it answers; `requests` and `paths` are what it was asked."""

    completion = staticmethod(completion)
    data_of = staticmethod(data_of)
    honest = staticmethod(honest)
    verdicts = staticmethod(verdicts)
    Reply = Reply

    def __init__(self, port: int = 0) -> None:
        self.script: Script = honest
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.released = threading.Event()
        self.busy = self.most_busy = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            timeout = 20

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if body:
                    outer.answer(self, json.loads(body))
                else:
                    self.close_connection = True  # the client was stopped in the middle of its request

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Quiet(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        with self._lock:
            self.requests.append(request)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.paths.append(handler.path)
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            reply = self.script(request)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            handler.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[: len(body) // 2] if reply.broken else body)
            handler.close_connection = handler.close_connection or reply.broken
        except OSError:
            handler.close_connection = True  # the client gave up waiting
        finally:
            with self._lock:
                self.busy -= 1

    def hang(self, request: dict[str, Any]) -> Reply:
        """A script that answers only when the test is over."""
        self.released.wait(10)
        return honest(request)

    def die(self) -> None:
        """Close, and break every connection off, as a server does that is killed."""
        self.close()
        for connection in self._server.connections:
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    running = ChatServer()
    yield running
    running.close()


@pytest.fixture
def start() -> Iterator[Callable[[int], ChatServer]]:
    """Starts a server at a port, where another one may have been."""
    running: list[ChatServer] = []

    def at(port: int) -> ChatServer:
        running.append(ChatServer(port))
        return running[-1]

    yield at
    for each in running:
        each.close()


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


@pytest.fixture
def question() -> Callable[..., Question[str]]:
    """Questions that differ by a text; the reply is an object with one text, `word`."""

    def made(text: str = "one", **options: Any) -> Question[str]:
        def read(reply: str) -> str:
            found = json.loads(reply)
            if set(found) != {"word"}:
                raise Unreadable("expected a word alone")
            return str(found["word"])

        options = {"name": "word", "read": read, **options}
        return Question([{"role": "user", "content": text}], {"type": "object"}, **options)

    return made


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def cache_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file in which this test's judges keep their answers."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SKINFLOW_CACHE", str(folder))
    yield folder / "judge.sqlite3"
    forget_caches()


@pytest.fixture
def judge_of(server: ChatServer) -> Callable[..., Judge]:
    """A judge at the server, quick to give up."""

    def made(**options: Any) -> Judge:
        defaults = {"runs": 1, "timeout": 5.0, "deadline": 8.0, "retries": 0, "failure_share": 1.0}
        return Judge(server.url, "examiner", **{**defaults, **options})

    return made


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    return load_taxonomy("demo")


@pytest.fixture
def predicted() -> Callable[..., list[Prediction]]:
    """Predictions from pairs of reference and answer, with the ids p0, p1, ..."""

    def made(*pairs: tuple[str, str]) -> list[Prediction]:
        return [
            Prediction(f"p{n}", "diagnosis", answer, {"diagnosis": truth})
            for n, (truth, answer) in enumerate(pairs)
        ]

    return made

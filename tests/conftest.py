"""Options of the whole test suite, and its tests of vLLM."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

# Before anybody imports Triton: without a GPU its kernels run in its interpreter, where tests name them. vLLM
# looks for a GPU through Triton and is left alone; its pass has no test of a kernel.
if not os.path.exists("/dev/nvidiactl") and find_spec("vllm") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine and nothing of the code.
settings.register_profile("skinflow", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("skinflow")


@pytest.fixture(autouse=True)
def answers_of_judges(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No test reads the user's key or file of kept answers, nor writes the file of another test."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.getbasetemp() / "judges" / str(next(_numbers))
    monkeypatch.setenv("SKINFLOW_CACHE", str(folder))
    yield
    if cache := sys.modules.get("skinflow_plugins.judging.cache"):
        cache.forget_caches()


_numbers = itertools.count()


@pytest.fixture(scope="session")
def chat_server() -> Iterator[Callable[[Callable[[dict[str, Any]], Any]], str]]:
    """Starts an OpenAI-compatible server on this machine for a function, and gives its address.

    `say(request)` gets the body, and the header with the key under "authorization"; it gives back the text
    of the reply, or a status and a text.
    """
    running: list[ThreadingHTTPServer] = []

    def start(say: Callable[[dict[str, Any]], Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = say(request | {"authorization": self.headers.get("Authorization")})
                status, text = said if isinstance(said, tuple) else (200, said)
                message = {"role": "assistant", "content": text}
                completion = {
                    "id": "c",
                    "object": "chat.completion",
                    "created": 1,
                    "model": request["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
                }
                body = json.dumps(completion).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C works in here and in child processes, even where a shell started the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write the golden plans of tests/recipe/golden anew instead of comparing with them",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` never gets here without vLLM; a plain `pytest` in .venv does."""
    if find_spec("vllm") is not None:
        return
    skip = pytest.mark.skip(
        reason="vLLM is not installed here; `make test-vllm` runs this test in .venv-vllm"
    )
    for item in items:
        if item.get_closest_marker("vllm"):
            item.add_marker(skip)

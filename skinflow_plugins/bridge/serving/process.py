"""vLLM's process: where it listens, whether it is ready, what it answers, and why it died."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skinflow_plugins.bridge import child
from skinflow_plugins.errors import WorkFailed

MODULE = "vllm.entrypoints.openai.api_server"
"""Not the console script `vllm`, which asks for the version of a package that its CPU build does not have."""


class Server:
    """vLLM's process and its log. Leaving the context ends it and every process that it started."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], host: str, port: int) -> None:
        self.argv, self.environment, self.host, self.port = argv, environment, host, port
        self.child: child.Child | None = None
        handle, name = tempfile.mkstemp(prefix="skinflow-serve-", suffix=".log")
        os.close(handle)
        self.log = Path(name)

    def __enter__(self) -> Server:
        with self.log.open("wb") as log:
            self.child = child.start(
                [sys.executable, "-m", MODULE, *self.argv],
                self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.child is not None
        child.end(self.child)

    @property
    def url(self) -> str:
        """Where this machine reaches the server."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def wait_ready(self) -> None:
        """Nothing, as soon as the server answers. Raises `WorkFailed` when it dies before."""
        while not self._healthy():
            self._check_alive("before it was ready")
            time.sleep(0.5)

    def wait(self) -> None:
        """Never comes back: raises `WorkFailed` when the server dies."""
        assert self.child is not None
        child.wait(self.child)
        self._check_alive("while it was serving")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The server's answer; `WorkFailed` when it refuses."""
        headers = {"Content-Type": "application/json"}
        if key := self.environment.get("VLLM_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers)
        try:
            with _straight().open(request, timeout=600) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise WorkFailed(f"{path}: {error}: {error.read(2000).decode(errors='replace')}") from error
        except OSError as error:
            self._check_alive("at its first request")
            raise WorkFailed(f"{self.url}{path} does not answer: {error}") from error

    def _healthy(self) -> bool:
        try:
            with _straight().open(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _check_alive(self, when: str) -> None:
        assert self.child is not None
        if child.running(self.child):
            return
        code = child.end(self.child)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise WorkFailed(f"vLLM {how} {when}; {self.log} ends with\n{story(self.log)}")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; `OSError` where somebody else does."""
    kind, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM does: TIME_WAIT is no hindrance
        found.bind(address)
        found.listen()  # with SO_REUSEADDR two sockets may be bound to a port as long as none listens
    except OSError:
        found.close()
        raise
    return found


def free_port(host: str) -> int:
    """A port on which nothing listens now."""
    with bound(host, 0) as found:
        return int(found.getsockname()[1])


def _straight() -> urllib.request.OpenerDirector:
    """No proxy stands between us and a server on this machine, whatever the shell says."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def story(log: Path, lines: int = 8) -> str:
    """Why vLLM died: the errors in its log, each once, in their order; without any, its last lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    found = [line.strip() for line in text.splitlines() if line.strip()]
    bare = [re.sub(r"^(\([^)]*\) )?([A-Z]+ \d\d-\d\d [\d:]+ \[[^]]*\] )?", "", line) for line in found]
    error = re.compile(r"[\w.]*(Error|Exception|Failed|Refused)(: .+)?")
    errors = list(dict.fromkeys(line for line in bare if error.fullmatch(line)))
    # Behind an error stand only the tracebacks of those who waited for the process that had it.
    return "\n".join(f"    {line[:400]}" for line in (errors[:lines] or bare[-lines:]))

"""A server's process, with a stand-in for vLLM: what is said of its death, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from skinflow_plugins.bridge.child import stoppable
from skinflow_plugins.bridge.serving import process
from skinflow_plugins.bridge.serving.process import Server, free_port
from skinflow_plugins.errors import WorkFailed

STAND_IN = """
import http.server, os, signal, subprocess, sys, time
kind, port = sys.argv[1], int(sys.argv[2])
if kind == "dies":
    print("(EngineCore pid=7) ERROR 11-22 08:00:00 [core.py:1] ValueError: no room")
    print("RuntimeError: Engine core initialization failed.")
    sys.exit(3)
# An engine that heeds no signal but the last.
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Server]]:
    """`stand_in(kind)`: a server whose process is the script above."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(process, "MODULE", "stand_in")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    logs = []

    def make(kind: str) -> Server:
        port = free_port("127.0.0.1")
        server = Server([kind, str(port)], environment, "127.0.0.1", port)
        logs.append(server.log)
        return server

    yield make
    for log in logs:
        log.unlink(missing_ok=True)


def process_of(server: Server) -> psutil.Process:
    """The engine of a stand-in."""
    return psutil.Process(int(server.log.read_text().split()[1]))


def ends(child: psutil.Process, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_no_process_outlives_the_server(stand_in: Callable[[str], Server]) -> None:
    with stand_in("serves") as server:
        server.wait_ready()
        engine = process_of(server)
        assert server.url.startswith("http://127.0.0.1:")
    assert ends(engine)
    assert server.child is not None
    assert server.child.returncode == -signal.SIGTERM


def test_a_server_that_dies_is_reported(stand_in: Callable[[str], Server]) -> None:
    with stand_in("dies") as server, pytest.raises(WorkFailed) as caught:
        server.wait_ready()
    text = str(caught.value)
    assert "ended with exit code 3 before it was ready" in text
    assert text.splitlines()[1:] == [
        "    ValueError: no room",
        "    RuntimeError: Engine core initialization failed.",
    ]


def test_a_killed_server_is_reported(stand_in: Callable[[str], Server]) -> None:
    with stand_in("serves") as server:
        server.wait_ready()
        engine = process_of(server)
        assert server.child is not None
        os.kill(server.child.pid, signal.SIGKILL)
        with pytest.raises(WorkFailed, match=r"was killed by SIGKILL while it was serving(.|\n)*child \d"):
            server.wait()
    assert ends(engine)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of it")
def test_a_starter_that_is_killed_takes_the_server_along(tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    port = free_port("127.0.0.1")
    code = (
        "import os\nfrom skinflow_plugins.bridge.serving import process\nprocess.MODULE = 'stand_in'\n"
        f"with process.Server(['serves', '{port}'], os.environ, '127.0.0.1', {port}) as server:\n"
        "    server.wait_ready()\n    print(server.child.pid, server.log, flush=True)\n    server.wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as starter:
        assert starter.stdout is not None
        number, log = starter.stdout.readline().decode().split()
        server, engine = psutil.Process(int(number)), Path(log).read_text().split()[1]
        starter.kill()
        assert ends(server)
    Path(log).unlink()
    psutil.Process(int(engine)).kill()  # vLLM's own ends with its parent; this one heeds nothing


def test_what_is_ignored_stays_ignored() -> None:
    """Under `nohup` a closed terminal ends nothing."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

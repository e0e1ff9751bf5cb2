"""A program in a session of its own, which ends with us, whoever ends us, and with all that it started."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from skinflow_plugins.orphans import PARENT_VARIABLE

PATIENCE = 20.0
"""Seconds that a program gets to end by itself."""
Child = subprocess.Popen[bytes]


def start(argv: Sequence[str], environment: Mapping[str, str], **streams: Any) -> Child:
    """The running program; pair it with `end`. `streams` are those of `Popen`."""
    return subprocess.Popen(
        argv,
        env={**environment, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid())},
        start_new_session=True,  # Ctrl-C reaches it through us alone, and no process of it is missed
        preexec_fn=_end_with_us(),
        **streams,
    )


def running(child: Child) -> bool:
    """Whether it has not ended; it stays a zombie until `end`, which needs its number for its group."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None


def wait(child: Child, seconds: float = math.inf) -> None:
    """Nothing, when it has ended or the time is over; what it started may still run."""
    until = time.monotonic() + seconds
    while running(child) and time.monotonic() < until:
        time.sleep(0.1)  # no blocking wait: a signal may have reached another thread of ours


def end(child: Child) -> int:
    """The exit code, once its session is ended: politely, by force after a while or at a second Ctrl-C."""
    if child.returncode is not None:
        return child.returncode
    try:
        _send(child, signal.SIGTERM)
        wait(child, PATIENCE)
    finally:
        _send(child, signal.SIGKILL)  # the others of its session too
        code = child.wait()
    return code


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While it lasts, SIGTERM and a closed terminal do what Ctrl-C does, except under `nohup`."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, _interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _send(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter is macOS's word for zombies
        os.killpg(child.pid, number)


def _end_with_us() -> Callable[[], None] | None:
    """What makes Linux end a child when we are killed; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    libc = ctypes.CDLL(None)  # here, because little is allowed between fork and exec
    return lambda: libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

"""A rollout server that dies or hangs ends the run with a message, within a stated time."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from skinflow_plugins.errors import InputError, Problem, WorkFailed

CONNECT = 10.0
GRACE = 30.0
"""Seconds that a call which nobody can interrupt (a broadcast of weights) is given beyond the time limit."""
_CALLS = (
    "infer",
    "update_named_param",
    "update_flattened_params",
    "update_adapter_param",
    "update_adapter_flattened_param",
    "process_weights_after_loading",
    "reset_prefix_cache",
    "reset_encoder_cache",
    "reset_mm_cache",
)


def guard(client: Any, seconds: float) -> None:
    """Give every call of swift's client a time limit, and its failures a message for the user."""
    for session in client.sessions:
        session.request = functools.partial(session.request, timeout=(CONNECT, seconds))
    for name in _CALLS:
        if (call := getattr(client, name, None)) is not None:
            setattr(client, name, _guarded(client, call, name, seconds))


def _guarded(client: Any, call: Callable[..., Any], name: str, seconds: float) -> Callable[..., Any]:
    where = ", ".join(client.base_urls)

    @functools.wraps(call)
    def guarded(*arguments: Any, **keywords: Any) -> Any:
        ended = threading.Event()
        threading.Thread(target=_end, args=(ended, seconds + GRACE, where, name), daemon=True).start()
        try:
            return call(*arguments, **keywords)
        except Exception as error:
            short = min(CONNECT, seconds)  # swift says goodbye at exit, and need not wait as long again
            for session in client.sessions:
                session.request = functools.partial(session.request, timeout=(short, short))
            what = f"{name} failed: {error}"
            if "timed out" in what:
                what += f"; if it needs longer than {seconds:g} s, raise rollouts.timeout"
            raise WorkFailed(message(where, what)) from error
        finally:
            ended.set()

    return guarded


def message(where: str, what: str) -> str:
    """What the user reads when a server is lost."""
    return (
        f"the rollout server at {where} was lost: {what}\n    start it again with `skinflow rollout`; "
        "`skinflow run` then goes on from the last checkpoint"
    )


def _end(ended: threading.Event, seconds: float, where: str, name: str) -> None:
    """End the process when a call is still under way: a broadcast to a dead peer never returns."""
    if not ended.wait(seconds):
        print(message(where, f"{name} took more than {seconds:g} s"), file=sys.stderr, flush=True)
        os._exit(1)


def wait_for(urls: Sequence[str], seconds: float, say: Callable[[str], None]) -> None:
    """Return as soon as every server answers; `InputError` when one does not within `seconds`."""
    import requests

    until = time.monotonic() + seconds
    for url in urls:
        said = False
        while True:
            left = until - time.monotonic()
            try:
                if requests.get(f"{url}/health", timeout=max(0.1, min(CONNECT, left))).status_code == 200:
                    break
            except requests.RequestException:
                pass
            if time.monotonic() > until:
                hint = (
                    "start it with `skinflow rollout` and the same recipe and folder, or name another place "
                    "under rollouts.options: vllm_server_host, vllm_server_port, vllm_server_timeout"
                )
                text = f"no rollout server answered at {url} within {seconds:g} s"
                raise InputError(Problem(text, path="rollouts", hint=hint))
            if not said:
                say(f"waiting for the rollout server at {url}, up to {seconds:g} s")
                said = True
            time.sleep(min(1.0, seconds / 10))

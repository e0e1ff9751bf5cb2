"""Two threads of this process for rewards: a loop for what waits, and a worker for what computes.

The loop lives as long as the process, so that the connections, the limits and the memory of a judge outlive
a step. Both are daemons: a reward that hangs must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import functools
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


_lock = threading.Lock()


@functools.lru_cache(maxsize=1)
def _loop_of(process: int) -> asyncio.AbstractEventLoop:
    """The loop of a process: a fork inherits the object, but not the thread that runs it."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="skinflow-rewards", daemon=True).start()
    return loop


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine in the loop of the background, from any other thread."""
    with _lock:
        loop = _loop_of(os.getpid())
    return asyncio.run_coroutine_threadsafe(work, loop)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine in the loop of the background; an interruption cancels it."""
    future = submit(work)
    try:
        return future.result()
    finally:
        future.cancel()


class _Worker:
    """One thread that does one thing after another."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="skinflow-reward", daemon=True).start()

    def _work(self) -> None:
        while True:
            job, future = self.jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)


_worker: tuple[int, _Worker] | None = None


async def in_worker(job: Callable[[], T]) -> T:
    """The result of a plain function, computed in a thread of its own so that a loop can give up on it.

    One thread serves all calls, as libraries bind things to threads. When the caller is cancelled in the
    middle, that thread may hang for ever; it is left alone, and the next call gets a new one.
    """
    global _worker
    if _worker is None or _worker[0] != os.getpid():
        _worker = os.getpid(), _Worker()
    future: Future[T] = Future()
    _worker[1].jobs.put((job, future))
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if not future.done():
            _worker = None
        raise

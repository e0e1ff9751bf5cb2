"""Processes whose `skinflow` has died end themselves."""

from __future__ import annotations

import os
import select
import threading
import time

PARENT_VARIABLE = "SKINFLOW_PARENT"
"""The process id of the `skinflow` that started this swift or vLLM; it must not outlive it."""


def end_with_parent() -> None:
    """End this process as soon as the `skinflow run` that started it is gone, however it went.

    Between the two stand swift's own command and perhaps torchrun or vLLM, which do not pass a kill on; an
    orphan would go on writing into a run folder that the next `skinflow run` takes for its own, or keep the
    memory of a GPU.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent and not any(thread.name == PARENT_VARIABLE for thread in threading.enumerate()):
        threading.Thread(target=_watch, args=(int(parent),), name=PARENT_VARIABLE, daemon=True).start()


def _watch(process: int) -> None:
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(process)
        except ProcessLookupError:
            os._exit(1)
        except OSError:  # an old kernel, or a sandbox that forbids it
            pass
        else:
            select.select([handle], [], [])
            os._exit(1)
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(0.5)

"""Several processes on a machine without an accelerator, and processes whose starter has died."""

from __future__ import annotations

import atexit
import os
import select
import threading
import time

from skinflow_plugins.errors import WorkFailed

PARENT_VARIABLE = "SKINFLOW_PARENT"
"""The process id of the `skinflow run` that started this swift; it must not outlive it."""


def count() -> int:
    """How many processes torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join_on_cpu() -> None:
    """Let the processes of torchrun work as one where there is no accelerator; call it any number of times.

    accelerate forms no process group on a CPU unless it is told that a CPU is meant: each process would train
    a model of its own on the first share of the data, and `swift infer` would keep only the first's answers.
    """
    if count() == 1:
        return
    import torch

    if not torch.accelerator.is_available():
        from accelerate import PartialState

        os.environ.setdefault("ACCELERATE_USE_CPU", "true")  # the trainer makes the state anew
        PartialState(cpu=True)
        atexit.register(_leave)


def _leave() -> None:
    """Leave the group before Python ends: gloo's threads abort a process that ends under them."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def check_joined() -> None:
    """Raise `WorkFailed` when torchrun's processes do not know of each other."""
    import torch.distributed as dist

    if count() > 1 and not dist.is_initialized():
        raise WorkFailed(
            f"{count()} processes were started, but they formed no process group: each would train a model "
            "of its own; check `ddp_backend` and the devices of this machine"
        )


def end_with_parent() -> None:
    """End this process as soon as the `skinflow run` that started it is gone, however it went.

    Between the two stand swift's own command and perhaps torchrun, which do not pass a kill on; an orphan
    would go on writing into a run folder that the next `skinflow run` takes for its own.
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

"""Several processes on a machine without an accelerator."""

from __future__ import annotations

import atexit
import os

from skinflow_plugins.errors import WorkFailed


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

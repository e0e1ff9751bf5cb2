"""Our one callback in swift's trainer: it keeps rewards.jsonl in step and links the last checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swift.callbacks.base import TrainerCallback

from skinflow_plugins.bridge import checkpoints, processes, reward_log, trainable


class SkinflowCallback(TrainerCallback):
    """Registered as `skinflow`; does nothing to the training itself."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        processes.check_joined()
        reward_log.forget()
        if state.is_world_process_zero:
            # A fresh start drops everything that an interrupted one left; a resumed one keeps its own steps.
            reward_log.drop_after(Path(args.output_dir), int(state.global_step))
        _barrier()  # nobody writes into a file that is being cleaned

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if getattr(args, "sync_ref_model", False):
            # trl mixes the policy into the reference after our on_step_end, past autograd's version counter.
            reference = getattr(self.trainer, "ref_model", None)
            if reference is not None:
                trainable.refresh_bases(reference, frozen=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _barrier()
        if state.is_world_process_zero:
            checkpoints.close(Path(args.output_dir), int(state.global_step))


def _barrier() -> None:
    """Wait for the other processes."""
    if processes.count() > 1:
        import torch.distributed as dist

        dist.barrier()

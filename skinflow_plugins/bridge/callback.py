"""Our one callback in swift's trainer: it keeps the logs in step, evaluates, and links checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swift.callbacks.base import TrainerCallback

from skinflow_plugins.bridge import checkpoints, liger, processes, reward_log, settings, trainable
from skinflow_plugins.bridge.evaluating import record
from skinflow_plugins.bridge.evaluating.evaluator import Evaluator
from skinflow_plugins.bridge.rewarding import scorer
from skinflow_plugins.recipe.schema import Rollouts


class SkinflowCallback(TrainerCallback):
    """Registered as `skinflow`; changes nothing in the training but this: no image tokens are sampled.

    Under Liger's GRPO loss, that loss is also all that changes: the model keeps its own layers.
    """

    evaluator: Evaluator | None = None

    def __init__(self, args: Any, trainer: Any) -> None:
        super().__init__(args, trainer)
        liger.only_the_loss(trainer)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        processes.check_joined()
        scorer.forget()
        if state.is_world_process_zero:
            # A fresh start drops everything that an interrupted one left; a resumed one keeps its own steps.
            reward_log.drop_after(Path(args.output_dir), int(state.global_step))
            record.drop_after(Path(args.output_dir), int(state.global_step))
        _barrier()  # nobody writes into a file that is being cleaned
        if getattr(args, "use_vllm", False):
            from skinflow_plugins.bridge.rollouts import watch

            watch.begin(self.trainer, _rollouts())
        elif hasattr(self.trainer, "_generate_completions"):
            from skinflow_plugins.bridge.rollouts.head import suppress_placeholders

            model = self.trainer.accelerator.unwrap_model(self.trainer.model)
            suppress_placeholders(model, self.trainer.processing_class)
        stage = settings.current()
        self.evaluator = None
        if stage is not None and stage.evaluation is not None:
            self.evaluator = Evaluator(self.trainer, stage.evaluation)
            self.evaluator.begin(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.evaluator is not None and self.evaluator.is_due(state):
            self.evaluator.evaluate(state, control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.evaluator is not None and state.is_world_process_zero:
            checkpoints.link_best(Path(args.output_dir))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if getattr(args, "use_vllm", False):
            from skinflow_plugins.bridge.rollouts import watch

            watch.step(self.trainer, logs or {}, _rollouts().tolerance)

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


def _rollouts() -> Rollouts:
    """Those of the recipe; without one, vLLM's with the default limits."""
    stage = settings.current()
    return stage.rollouts if stage is not None else Rollouts(engine="vllm")


def _barrier() -> None:
    """Wait for the other processes."""
    if processes.count() > 1:
        import torch.distributed as dist

        dist.barrier()

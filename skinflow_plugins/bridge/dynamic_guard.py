"""A guard in every trainer of this process: routers of a dynamic encoder train, and bases keep in step.

Recipes name our callback; a swift command typed by hand need not. Its defaults (LoRA, frozen tower) would
leave every router frozen without a word, so the guard stands among transformers' own default callbacks.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, trainer

from skinflow_plugins.bridge import trainable


class DynamicGuard(TrainerCallback):
    """Stops a training that would leave routers frozen; about models without them it has nothing to say."""

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (model := kwargs.get("model")) is not None:
            trainable.check_precision(model)  # before DeepSpeed casts it

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if (model := kwargs.get("model")) is not None:
            trainable.check_trainable(model, any_precision=bool(getattr(args, "deepspeed", None)))

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._refresh(kwargs)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._refresh(kwargs)  # for engines that write the weights back after their step

    @staticmethod
    def _refresh(kwargs: Any) -> None:
        if (model := kwargs.get("model")) is not None:
            trainable.refresh_bases(model)


def guard_trainers() -> None:
    """Put the guard into every trainer that is made from now on; call it any number of times."""
    if DynamicGuard not in trainer.DEFAULT_CALLBACKS:
        trainer.DEFAULT_CALLBACKS.append(DynamicGuard)

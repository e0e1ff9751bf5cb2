"""Liger's GRPO loss in the place of swift's own: to the same value, and nothing else of Liger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def only_the_loss(trainer: Any) -> None:
    """Make a new trainer that takes its GRPO loss from Liger train what it trains with swift's own.

    swift's one argument for the loss is also transformers' for replacing the layers of the model types that
    Liger knows. It knows no dynamic model, so a plain model and its dynamic twin would train with different
    layers. swift reads the argument while the trainer is made, transformers when training begins.
    """
    prepare = getattr(trainer, "_prepare_liger_loss", None)
    if prepare is None:
        return

    def prepare_the_loss_alone() -> None:
        prepare()
        if trainer.args.use_liger_kernel:
            from liger_kernel.chunked_loss import grpo_loss

            grpo_loss.k3_loss_fn = capped_divergence
            trainer.args.use_liger_kernel = False

    trainer._prepare_liger_loss = prepare_the_loss_alone


def capped_divergence(reference: Tensor, policy: Tensor) -> Tensor:
    """The KL divergence of each token as swift has it; Liger's is without the two caps."""
    ratio = (reference - policy).clamp(-20, 20)
    return (ratio.exp() - ratio - 1).clamp(-10, 10)

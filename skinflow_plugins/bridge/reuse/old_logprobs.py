"""Old log-probabilities are those of the training forward itself, where the policy that sampled still trains.

swift computes them for every batch, with a forward of their own. Where a batch is learnt from in the one
optimizer step that follows, they are what the training forward computes again: the same function of the same
inputs under the same weights. swift's loss takes them from there when there are none.

The forward of the reference model goes through the same method of the trainer and is never left out: only the
first call for a batch is, by the model that trains, while swift prepares what the loss is computed from.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from accelerate.utils import gather_object
from swift.rlhf_trainers.grpo_trainer import GRPOTrainer

from skinflow_plugins.bridge.reuse.randomness import random_parts
from skinflow_plugins.errors import WorkFailed
from skinflow_plugins.recipe.speed_check import obstacles

STEP = "skinflow_step"
"""Of a batch without old log-probabilities: the optimizer steps that had been made when it was sampled."""


def reasons(trainer: Any) -> Iterator[str]:
    """Why a trainer's old log-probabilities must be computed; nothing where they need not be."""
    args = trainer.args
    if type(trainer) is not GRPOTrainer:
        yield f"the trainer is a {type(trainer).__name__}, whose loss is not known"
        return
    if trainer.old_policy():
        yield (
            f"a batch is learnt from in several optimizer steps (num_iterations {trainer.num_iterations}, "
            f"steps_per_generation {args.steps_per_generation}, gradient_accumulation_steps "
            f"{args.gradient_accumulation_steps})"
        )
    known = {
        "kl_in_reward": trainer.kl_in_reward,
        "beta": trainer.beta,
        "sequence_parallel_size": trainer.template.sequence_parallel_size,
        "use_liger_kernel": trainer.use_liger_loss,
    }
    for _, why in obstacles(lambda name: known[name] if name in known else getattr(args, name, None)):
        yield why
    if trainer._has_teacher_explicit():
        yield "the distance to the teacher is measured from them"
    if trainer.multi_turn_scheduler or trainer.enable_server_multi_turn or trainer.dynamic_num_samples:
        yield "several turns may cut a batch into other parts than the loss does"
    for part in islice(random_parts(trainer.accelerator.unwrap_model(trainer.model)), 1):
        yield f"a second forward draws other numbers: {part}"


class OnPolicy:
    """Leaves the forward of the old log-probabilities out of one trainer; `skipped` counts how often."""

    METHODS = (
        *("_generate_and_score_completions", "_prepare_batch_inputs", "compute_loss"),
        "_get_per_token_logps_and_entropies",
    )

    def __init__(self, trainer: Any, *, required: bool) -> None:
        self.trainer, self.required = trainer, required
        self.skipped = 0
        self._sampling = self._may_skip = False
        self._met: list[Any] = []
        for name in self.METHODS:
            setattr(trainer, name, self._instead_of(name))

    def _instead_of(self, name: str) -> Any:
        own = getattr(self, name.removeprefix("_"))

        @functools.wraps(getattr(GRPOTrainer, name))
        def instead(*arguments: Any, **keywords: Any) -> Any:
            return own(*arguments, **keywords)

        return instead

    def undo(self) -> None:
        """Make the trainer compute them again."""
        for name in self.METHODS:
            vars(self.trainer).pop(name, None)

    def generate_and_score_completions(self, inputs: Any) -> Any:
        """Only what is prepared in here goes to the loss; who else asks for a batch gets all of it."""
        self._sampling = True
        try:
            return GRPOTrainer._generate_and_score_completions(self.trainer, inputs)
        finally:
            self._sampling = False

    def prepare_batch_inputs(self, samples: Sequence[Any]) -> Any:
        """swift's own, with the old log-probabilities left out unless a sample has a view for a teacher."""
        self._may_skip = self._sampling and not self._any_teacher(samples)
        try:
            return GRPOTrainer._prepare_batch_inputs(self.trainer, samples)
        finally:
            self._may_skip = False
            self._met.clear()

    def _any_teacher(self, samples: Sequence[Any]) -> bool:
        """Whether a sample of any process has one (`teacher_prompt`); all must make the same forwards."""
        found = any(gather_object([any(sample.build_teacher_view() for sample in samples)]))
        if found and self.required:
            raise WorkFailed(
                "speed.old_logprobs is true, but rows have a teacher_prompt or teacher_images, and the "
                "distance to that teacher is measured from old log-probabilities; leave it out"
            )
        return found

    def get_per_token_logps_and_entropies(
        self, model: Any, model_inputs: dict[str, Any], grpo_batch: Any, *arguments: Any, **keywords: Any
    ) -> Any:
        """Nothing, for the first question about a batch by the model that trains."""
        first = not any(grpo_batch is met for met in self._met)
        if self._may_skip and first and model is self.trainer.model:
            self._met.append(grpo_batch)
            self._leave_marks(model_inputs, grpo_batch)
            self.skipped += 1
            return None, None
        return GRPOTrainer._get_per_token_logps_and_entropies(
            self.trainer, model, model_inputs, grpo_batch, *arguments, **keywords
        )

    def _leave_marks(self, model_inputs: dict[str, Any], grpo_batch: Any) -> None:
        """What the forward would have written beside its inputs, and the step that all of this holds for."""
        keys = self.trainer.model_kwarg_keys
        if "use_cache" in keys:
            model_inputs["use_cache"] = False
        if "logits_to_keep" in keys:
            model_inputs["logits_to_keep"] = grpo_batch.logits_to_keep + 1
        setattr(grpo_batch, STEP, self.trainer.state.global_step)

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        """swift's own; it never comes to a batch of an earlier policy, and would be stopped here."""
        batch = (inputs[0] if isinstance(inputs, list) else inputs)["grpo_batch"]
        sampled, now = getattr(batch, STEP, None), self.trainer.state.global_step
        if sampled is not None and self.trainer.model.training and sampled != now:
            raise WorkFailed(
                f"a batch that was sampled after {sampled} optimizer steps is learnt from after {now}, and "
                "its old log-probabilities were not computed; write speed: {old_logprobs: false}"
            )
        return GRPOTrainer.compute_loss(self.trainer, model, inputs, *arguments, **keywords)

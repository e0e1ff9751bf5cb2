"""What one trainer does once instead of twice: each option of `speed:`, whether it is on, and why not."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from swift.utils import get_logger
from transformers import TrainerCallback

from skinflow_plugins.bridge.reuse import loading, old_logprobs, processors
from skinflow_plugins.bridge.reuse.pixel_cache import PixelCache
from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.errors import InputError, Problem
from skinflow_plugins.models.distinct_images import share_images, unshare_images
from skinflow_plugins.models.families import BaseFamily
from skinflow_plugins.models.shared_tower import SharedImages
from skinflow_plugins.recipe.schema import Speed

MIB = 2**20


@dataclass(frozen=True)
class Outcome:
    """An option: whether it is on, and in words how far, or why not."""

    option: str
    on: bool
    why: str

    def __str__(self) -> str:
        return f"speed.{self.option}: {'on' if self.on else 'off'}, {self.why}"


class Reuse:
    """Set up on a trainer that is made, which keeps it as `skinflow_reuse`; `outcomes` and `summary` tell
    what came of it.
    """

    def __init__(self, trainer: Any, speed: Speed) -> None:
        self.models = [
            trainer.accelerator.unwrap_model(model)
            for model in (trainer.model, trainer.ref_model)
            if model is not None
        ]
        self._counted: tuple[int, int] | None = None
        self.cache: PixelCache | None = None
        self.on_policy: old_logprobs.OnPolicy | None = None
        self.processor: Any = None
        self.outcomes = (
            self._images(speed),
            self._pixels(trainer, speed),
            self._logprobs(trainer, speed),
        )
        wanted = [each for each in self.outcomes if not each.on and getattr(speed, each.option) is True]
        if wanted:
            raise InputError([_not_to_be_had(each) for each in wanted])
        if trainer.accelerator.is_main_process:
            for outcome in self.outcomes:
                get_logger().info(f"skinflow: {outcome}")
        trainer.add_callback(_AtTheEnd(self))

    # --- the options ----------------------------------------------------------------------------------------

    def _images(self, speed: Speed) -> Outcome:
        option = "distinct_images"
        if speed.distinct_images is False:
            return Outcome(option, False, "as asked")
        reasons = []
        for model in self.models:
            family, kind = family_of(model), getattr(model.config, "model_type", None)
            unknown = f"models of type {kind!r} are not known"
            reasons.append(share_images(model, family) if family else unknown)
        if why := next(filter(None, reasons), ""):
            for model in self.models:
                unshare_images(model)
            return Outcome(option, False, why)
        return Outcome(option, True, "the vision tower computes each image of a forward once")

    def _pixels(self, trainer: Any, speed: Speed) -> Outcome:
        option = "pixel_cache"
        if speed.pixel_cache <= 0:
            return Outcome(option, False, "as asked")
        processor = getattr(trainer.template.processor, "image_processor", None)
        if processor is None:
            return Outcome(option, False, "the model's processor has no image processor")
        self.cache = PixelCache(speed.pixel_cache * MIB)
        why = processors.keep_outputs(processor, self.cache)
        if why:
            self.cache = None
            return Outcome(option, False, why)
        self.processor = processor
        loading.use(self.cache)
        return Outcome(option, True, f"at most {speed.pixel_cache} MiB in each process")

    def _logprobs(self, trainer: Any, speed: Speed) -> Outcome:
        option = "old_logprobs"
        if speed.old_logprobs is False:
            return Outcome(option, False, "as asked")
        if why := "; ".join(old_logprobs.reasons(trainer)):
            return Outcome(option, False, why)
        self.on_policy = old_logprobs.OnPolicy(trainer, required=speed.old_logprobs is True)
        return Outcome(option, True, "they are those of the training forward")

    # --- what came of them ----------------------------------------------------------------------------------

    def is_on(self, option: str) -> bool:
        """Whether an option of `speed:` is at work."""
        return next(each.on for each in self.outcomes if each.option == option)

    def images(self) -> tuple[int, int]:
        """(images that the towers were given, images that they computed), of all models together."""
        if self._counted is not None:
            return self._counted
        towers = (each for model in self.models for each in model.modules() if isinstance(each, SharedImages))
        found = [tower.skinflow_images for tower in towers]
        return sum(seen for seen, _ in found), sum(computed for _, computed in found)

    def summary(self) -> str:
        """What was saved so far, in one line about this process; empty when nothing is on."""
        parts = []
        if self.is_on("distinct_images"):
            seen, computed = self.images()
            parts.append(f"vision towers computed {computed:,} of {seen:,} images")
        if self.cache is not None:
            asked = self.cache.hits + self.cache.misses
            parts.append(f"pixel cache answered {self.cache.hits:,} of {asked:,} times")
        if self.on_policy is not None:
            parts.append(f"{self.on_policy.skipped:,} forwards for old log-probabilities were not made")
        return "; ".join(parts)

    def end(self) -> None:
        """Leave model and processor as they were: both outlive the training where stages share a process."""
        self._counted = self.images()
        for model in self.models:
            # FSDP has made its own class from the shared one, which then stays.
            with contextlib.suppress(TypeError):
                unshare_images(model)
        loading.use(None)
        if self.processor is not None:
            processors.release(self.processor)
        if self.cache is not None:
            self.cache.clear()


def _not_to_be_had(outcome: Outcome) -> Problem:
    hint = "leave it out: it is then on where that is safe, and the log says where it is not"
    return Problem(f"found true, but {outcome.why}", path=f"speed.{outcome.option}", hint=hint)


class _AtTheEnd(TrainerCallback):
    def __init__(self, reuse: Reuse) -> None:
        self.reuse = reuse

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        summary = self.reuse.summary()
        if state.is_world_process_zero and summary:
            get_logger().info(f"skinflow: {summary}")
        self.reuse.end()


def family_of(model: Any) -> BaseFamily | None:
    """The base family of a loaded model, dynamic or not; None when nobody knows it."""
    kind = str(getattr(model.config, "model_type", "")).removeprefix("skinflow_")
    families = (entry.value for entry in catalogue().table("base_models").values())
    return next((family for family in families if family.hf_model_type == kind), None)

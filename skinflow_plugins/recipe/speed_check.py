"""What can be said of a recipe's `speed:` before anything runs: what `true` asks for and cannot be had.

The trainer itself is looked at once more where it is made, by `bridge/reuse`, which knows the model too. What
swift's arguments alone forbid is written here, once for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe import tuning
from skinflow_plugins.recipe.batches import batches
from skinflow_plugins.recipe.complaints import Complaints
from skinflow_plugins.recipe.families import family_for
from skinflow_plugins.recipe.schema import Stage

LORA_DROPOUT = 0.05
"""swift's default."""
NO_ADAPTER = "dummy-target-modules"
"""PEFT's own word, in `target_regex`, for no adapter at all."""

Obstacle = tuple[str, str]
"""A swift argument, and why old log-probabilities must be computed because of it."""


def check_speed(found: Complaints) -> None:
    """Notes what is wrong under `speed:`."""
    speed = found.recipe.speed
    if found.is_sound(("speed", "pixel_cache")) and speed.pixel_cache < 0:
        hint = "0 keeps no pixels; the default is 256"
        found.wrong(("speed", "pixel_cache"), f"found {speed.pixel_cache}, expected 0 or more MiB", hint)
    learning = [stage for stage in found.recipe.stages if stage.kind == "grpo"]
    for name in ("distinct_images", "old_logprobs"):
        if getattr(speed, name) is True and not learning and found.recipe.stages:
            message = "found true, but only grpo stages do this work twice, and there is none"
            found.wrong(("speed", name), message, "leave it out")
    if speed.distinct_images is True and learning:
        _images(found)
    if speed.old_logprobs is True:
        for stage in learning:
            _logprobs(found, stage)


def _images(found: Complaints) -> None:
    try:
        family = family_for(found.recipe.model, found.catalogue)
    except (InputError, ValueError, OSError):  # `base_model` reports it
        return
    if family.seam is None:
        message = f"found true, but the family {family.name!r} does not say how its tower tells images apart"
        hint = "leave it out: the tower then runs for every completion; or give the family a `seam`"
        found.wrong(("speed", "distinct_images"), message, hint)


def _logprobs(found: Complaints, stage: Stage) -> None:
    try:
        given = tuning.effective(found.recipe, stage)
    except (ModuleNotFoundError, KeyError):  # `swift_check` and `shape` report it
        return
    for argument, why in (*_of_the_batches(found, given), *obstacles(given.get), *_of_lora(given)):
        message = f"found true, but stage {stage.name!r} needs them computed: {why}"
        hint = f"leave it out, or change swift's {argument}"
        found.wrong(("speed", "old_logprobs"), message, hint)
        return  # the first one is enough


def _of_the_batches(found: Complaints, given: Mapping[str, Any]) -> Iterator[Obstacle]:
    if not found.is_sound(("launch",)):
        return
    try:
        sizes = batches(given, found.recipe.launch.processes)
    except ValueError:  # `swift_check` reports it
        return
    if sizes.reuse > 1:
        yield "num_iterations", f"num_iterations is {sizes.reuse}, and each batch is learnt from so often"
    elif sizes.generated > 0 and sizes.per_step % sizes.generated:
        why = (
            f"{sizes.generated} completions are sampled at once and an optimizer step takes "
            f"{sizes.per_step}, so that a batch is learnt from in several steps"
        )
        yield "steps_per_generation or generation_batch_size", why


def _of_lora(given: Mapping[str, Any]) -> Iterator[Obstacle]:
    linears = given.get("target_regex") != NO_ADAPTER
    dropout = given.get("lora_dropout", LORA_DROPOUT)
    if given.get("tuner_type") == "lora" and linears and not given.get("disable_dropout") and dropout:
        told = "" if "lora_dropout" in given else " (swift's default)"
        why = f"lora_dropout is {dropout}{told}, and a second forward draws other numbers"
        yield "lora_dropout", why


def obstacles(value: Callable[[str], Any]) -> Iterator[Obstacle]:
    """What swift's arguments say against old log-probabilities that are not computed.

    `value` gives an argument by its name; one that was not given is None. Whether a batch is learnt from in
    one optimizer step, and whether the model draws random numbers, is not looked at here.
    """
    if value("async_generate"):
        yield "async_generate", "async_generate samples a batch while the one before is learnt from"
    name = "multi_turn_scheduler"
    if value(name):
        yield name, f"{name} may cut a batch into other parts than the loss does"
    name = "sequence_parallel_size"
    if value(name) not in (None, 1):
        yield name, f"{name} splits sequences over processes, which was not looked into"
    for name in ("teacher_model", "teacher_model_server", "teacher_adapters"):
        if value(name):
            yield name, f"{name}: the distance to the teacher is measured from them"
    for name, off in (("advantage_reweight", None), ("sdar_loss_coef", 0)):
        if value(name) not in (None, off):
            yield name, f"{name} measures the distance to a teacher from them"
    if value("neftune_noise_alpha"):
        yield "neftune_noise_alpha", "neftune_noise_alpha adds noise, and a second forward draws another"
    in_reward = value("kl_in_reward")
    if in_reward is None:  # swift decides by the estimator
        in_reward = value("advantage_estimator") in ("rloo", "reinforce_plus_plus")
    if in_reward and value("beta") != 0:
        yield "kl_in_reward", "kl_in_reward subtracts a distance from the reward that is measured from them"
    name = "rollout_importance_sampling_mode"
    if value("use_liger_kernel") and value(name):
        yield name, f"{name} together with Liger's loss reads them"

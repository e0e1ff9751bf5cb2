"""`speed:` of a recipe: its shape, and what `true` asks for and cannot be had, told before a run."""

from __future__ import annotations

import dataclasses

import pytest

from skinflow_plugins.catalogue import Catalogue, catalogue
from skinflow_plugins.recipe import check, load
from skinflow_plugins.recipe.schema import Speed

SFT_ONLY = ("stages.caption=null", "stages.diagnosis=null")


def problems(*overrides: str, known: Catalogue | None = None) -> list[str]:
    return [str(problem) for problem in check(load("quickstart", overrides), known or catalogue())]


def test_the_defaults_are_auto() -> None:
    assert load("quickstart").recipe.speed == Speed("auto", 256, "auto", "auto", "auto")
    assert problems() == []


@pytest.mark.parametrize(
    "speed",
    ["{distinct_images: true, old_logprobs: true}", "{distinct_images: false, pixel_cache: 0}", "null"],
)
def test_what_can_be_had(speed: str) -> None:
    assert problems(f"speed={speed}") == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("speed.pixel_cache=-1", "speed.pixel_cache: found -1, expected 0 or more MiB"),
        ("speed.pixel_cache=true", "speed.pixel_cache: found true, expected a whole number"),
        ("speed.old_logprobs=yes please", "expected true or false or one of 'auto'"),
        ("speed.pixel_cach=1", "did you mean 'pixel_cache'"),
    ],
)
def test_shape(given: str, told: str) -> None:
    (found,) = problems(given)
    assert told in found
    assert found.startswith("command line: ")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("swift.num_iterations=2", "num_iterations is 2"),
        (
            "swift.generation_batch_size=192",
            "192 completions are sampled at once and an optimizer step takes 96",
        ),
        ("swift.steps_per_generation=2", "so that a batch is learnt from in several steps"),
        ("swift.kl_in_reward=true", "kl_in_reward"),
        ("swift.advantage_estimator=rloo", "kl_in_reward"),
        ("swift.neftune_noise_alpha=5", "neftune_noise_alpha"),
        ("swift.sequence_parallel_size=2", "sequence_parallel_size"),
        ("tuning.tuner=lora", "lora_dropout is 0.05 (swift's default)"),
    ],
)
def test_old_logprobs_that_must_be_computed(given: str, told: str) -> None:
    assert not any("old_logprobs" in each for each in problems(given))  # `auto` computes them, and says so
    found = problems(given, "speed.old_logprobs=true")
    ours = [each for each in found if "speed.old_logprobs" in each]
    assert len(ours) == 2  # one for each stage
    assert "stage 'caption'" in ours[0]
    assert "stage 'diagnosis'" in ours[1]
    assert all(told in each and "leave it out, or change" in each for each in ours)


@pytest.mark.parametrize(
    "given",
    [
        ("swift.gradient_accumulation_steps=2", "swift.generation_batch_size=96"),
        ("swift.kl_in_reward=true", "stages.caption.swift.beta=0", "stages.diagnosis.swift.beta=0"),
        ("tuning.tuner=lora", "swift.lora_dropout=0.0"),
        ("tuning.tuner=routers",),  # PEFT without any adapter
    ],
)
def test_old_logprobs_that_need_not_be(given: tuple[str, ...]) -> None:
    assert not any("old_logprobs" in each for each in problems(*given, "speed.old_logprobs=true"))


def test_only_the_stage_at_fault_is_named() -> None:
    found = problems("stages.diagnosis.swift.num_iterations=2", "speed.old_logprobs=true")
    assert len(found) == 1
    assert "'diagnosis'" in found[0]


def test_there_is_nothing_to_save_without_a_grpo_stage() -> None:
    assert problems(*SFT_ONLY, "speed.pixel_cache=64", "speed.old_logprobs=auto") == problems(*SFT_ONLY)
    found = problems(*SFT_ONLY, "speed={distinct_images: true, old_logprobs: true}")
    assert sum("there is none" in each for each in found) == 2


def test_a_family_that_does_not_tell_its_images_apart() -> None:
    known = catalogue()
    entry = known.table("base_models")["qwen2_5_vl"]
    seamless = dataclasses.replace(entry, value=dataclasses.replace(entry.value, seam=None))
    without = Catalogue({**known.entries, "base_models": {"qwen2_5_vl": seamless}}, known.plugins)
    plain = "model.vision={encoder: base}"
    (found,) = problems(plain, "speed.distinct_images=true", known=without)
    assert "speed.distinct_images: found true, but the family 'qwen2_5_vl' does not say" in found
    assert problems(plain, "speed.distinct_images=auto", known=without) == []

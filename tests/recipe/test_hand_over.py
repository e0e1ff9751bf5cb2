"""What a stage leaves to the next: full weights to anyone, an adapter only to training of the same shape."""

from __future__ import annotations

import pytest

from skinflow_plugins.catalogue import catalogue
from skinflow_plugins.recipe import check, load


def problems(*overrides: str) -> list[str]:
    loaded = load("quickstart", ["model.vision={encoder: dve}", *overrides])
    return [str(problem) for problem in check(loaded, catalogue())]


def tuners(warmup: str, caption: str, diagnosis: str) -> list[str]:
    """Overrides that give each stage its `tuning`."""
    blocks = {"warmup": warmup, "caption": caption, "diagnosis": diagnosis}
    return [f"stages.{name}.tuning={{{block}}}" for name, block in blocks.items()]


LORA, ROUTERS, FULL = "tuner: lora", "tuner: routers, encoder: frozen", "tuner: full"
LORA_FROZEN, ENCODER = "tuner: lora, encoder: frozen", "tuner: routers, encoder: trained"


@pytest.mark.parametrize(
    "stages",
    [
        (FULL, FULL, FULL),
        (LORA, LORA, LORA),
        (ROUTERS, ROUTERS, ROUTERS),
        (FULL, LORA_FROZEN, LORA_FROZEN),
        (FULL, ENCODER, ROUTERS),
        (ENCODER, FULL, LORA),
        ("tuner: full, encoder: frozen", FULL, ROUTERS),
    ],
)
def test_these_hand_over(stages: tuple[str, str, str]) -> None:
    assert problems(*tuners(*stages)) == []


@pytest.mark.parametrize(
    ("stages", "place", "message", "hint"),
    [
        (
            (LORA, FULL, FULL),
            "stages[1].tuning.tuner",
            "full tuning cannot start from the adapter",
            "use lora",
        ),
        ((ROUTERS, FULL, FULL), "stages[1].tuning.tuner", "full tuning cannot start from the", "use routers"),
        (
            (ROUTERS, ENCODER, FULL),
            "stages[1].tuning.tuner",
            "full tuning cannot start from the",
            "init: base",
        ),
        (
            (LORA, ROUTERS, ROUTERS),
            "stages[1].tuning.tuner",
            "routers tuning cannot go on from the adapter of 'warmup', which is of lora tuning: swift",
            "use tuner: lora here too, or begin with init: base",
        ),
        (
            (FULL, ROUTERS, LORA),
            "stages[2].tuning.tuner",
            "lora tuning cannot go on from the adapter of 'caption', which is of routers tuning",
            "use tuner: routers here too",
        ),
        (
            (LORA, LORA_FROZEN, LORA_FROZEN),
            "stages[1].tuning.encoder",
            "found encoder: frozen, but the adapter of 'warmup' was made with encoder: trained",
            "use encoder: trained here too, or begin with init: base",
        ),
    ],
)
def test_these_do_not(stages: tuple[str, str, str], place: str, message: str, hint: str) -> None:
    (found,) = problems(*tuners(*stages))
    assert place in found
    assert message in found
    assert hint in found.partition("\n")[2]


def test_starting_from_the_base_hands_nothing_over() -> None:
    mixed = tuners(LORA, ROUTERS, ROUTERS)
    assert problems(*mixed, "stages.caption.init=base") == []
    assert "'warmup'" in problems(*mixed, "stages.caption.init=base", "stages.diagnosis.init=warmup")[0]


def test_an_adapter_keeps_the_shape_that_it_was_made_with() -> None:
    (found,) = problems(
        "tuning.tuner=lora", "stages.caption.swift.lora_rank=32", "stages.diagnosis.init=warmup"
    )
    assert (
        "stages[1].swift.lora_rank: found 32, but the adapter of 'warmup' was made with swift's default"
        in found
    )
    (found,) = problems("tuning.tuner=lora", "stages.warmup.swift.lora_rank=32")
    assert "'lora_rank' is not given, but the adapter of 'warmup' was made with 32" in found

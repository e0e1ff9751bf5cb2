"""bfloat16 and gradient checkpointing give the losses of plain float32; routers are float32 all the way."""

from __future__ import annotations

import re
from typing import Any

import pytest

FULL, LORA = "tuning={tuner: full, encoder: trained}", "tuning={tuner: lora, encoder: trained}"
HALF = ("swift.torch_dtype=bfloat16", "swift.bf16=true", "swift.use_cpu=true")
TAUGHT = ("swift.learning_rate=1e-3", "swift.save_steps=4")
TOLERANCE = 0.01
"""Relative, of four losses of teacher-forced SFT: bfloat16 has eight bits, the tiny model two layers."""


def losses(trained: Any, key: str = "loss") -> list[float]:
    return [step[key] for step in trained.steps()]


def test_gradient_checkpointing_changes_nothing(lab: Any) -> None:
    """A block that is computed again sees the images that it saw the first time."""
    for tuning in (FULL, LORA):
        plain = lab.train(tuning, start="random")
        twice = lab.train(
            tuning,
            "swift.gradient_checkpointing=true",
            "swift.vit_gradient_checkpointing=true",
            start="random",
        )
        for trained, expected in ((plain, False), (twice, True)):
            flags = {
                name: module.gradient_checkpointing
                for name, module in trained.model.named_modules()
                if re.search(r"visual\.blocks\.\d+$|language_model\.layers\.\d+$", name)
            }
            assert flags == dict.fromkeys(flags, expected)
            assert len(flags) == 4
        for key in ("loss", "grad_norm", "kl", "reward"):
            assert losses(twice, key) == pytest.approx(losses(plain, key), rel=1e-5, abs=1e-6), key
        assert len({round(loss, 6) for loss in losses(plain)}) == 4


@pytest.mark.parametrize("tuning", [FULL, LORA], ids=["full", "lora"])
def test_bfloat16(lab: Any, tuning: str) -> None:
    import torch
    from safetensors.torch import load_file

    single = lab.train(tuning, *TAUGHT, start="random", stage="taught")
    half = lab.train(tuning, *TAUGHT, *HALF, start="random", stage="taught")
    expected = losses(single)
    assert losses(half) == pytest.approx(expected, rel=TOLERANCE)
    assert max(expected) - min(expected) > 0.1  # it learned something, or the tolerance would say nothing
    assert losses(half) != expected

    base = half.load(0)
    dtypes = {name: value.dtype for name, value in half.model.named_parameters()}
    routers = {name for name in dtypes if ".dve_router." in name}
    assert {dtypes[name] for name in routers} == {torch.float32}
    assert {dtypes[name] for name in dtypes if ".mlp.down_proj.weight" in name and "lora" not in name} <= {
        torch.bfloat16
    }
    (file,) = half.checkpoint(4).glob("*.safetensors")
    saved = load_file(file)
    kept = {name: value for name, value in saved.items() if ".dve_router." in name}
    assert len(kept) == 24
    assert {value.dtype for value in kept.values()} == {torch.float32}
    started = dict(base.named_parameters())
    for name, value in kept.items():
        assert not value.equal(started[name.removeprefix("base_model.model.")]), name
        assert not value.equal(value.bfloat16().float()), name  # with digits that bfloat16 does not have


@pytest.mark.parametrize("tuning", [FULL, LORA], ids=["full", "lora"])
def test_grpo_in_bfloat16(lab: Any, tuning: str) -> None:
    """Sampling, the reference and the loss in bfloat16; what is saved loads again in either precision."""
    import torch

    from skinflow_plugins.models import load

    trained = lab.train(tuning, *HALF, "swift.max_steps=2", start="random")
    assert abs(trained.steps()[0]["kl"]) < 1e-6
    assert all(step["grad_norm"] > 0 for step in trained.steps())
    source = trained.checkpoint(2) if tuning == FULL else trained.base
    for dtype in (torch.bfloat16, torch.float32):
        model = load(source, dtype=dtype)
        assert {v.dtype for n, v in model.named_parameters() if ".dve_router." in n} == {torch.float32}
        assert model.lm_head.weight.dtype == dtype

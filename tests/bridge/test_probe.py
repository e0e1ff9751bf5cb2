"""What a stage trains and what gets a gradient, looked at in one real step of swift."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from skinflow_plugins.bridge import probe as probes
from skinflow_plugins.bridge.model_parts import LANGUAGE, LORA, PROJECTOR, ROUTERS, TOWER, homes_of, parts_of
from skinflow_plugins.bridge.prepare import source_records
from skinflow_plugins.bridge.probe import Probe
from skinflow_plugins.errors import InputError, WorkFailed
from skinflow_plugins.vision import Gains, Router

DVE = "model.vision.encoder=dve"
LORA_TUNING = "tuning={tuner: lora}"
FROZEN = "{freeze_vit: true, freeze_aligner: true, freeze_llm: true}"
Look = Callable[..., Probe]


@pytest.fixture
def look(
    read: Callable[..., Any], swift: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Look]:
    """Looks at one stage of the tiny recipe; nothing may be written outside of the probe's own folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("MODELSCOPE_CACHE", str(elsewhere))
    monkeypatch.chdir(elsewhere)

    def at(stage: str, *overrides: str) -> Probe:
        loaded, known = read(*overrides)
        records = source_records(loaded.recipe, known, tmp_path / "probe")
        return probes.probe(loaded.recipe, known, loaded.recipe.stage(stage), records, tmp_path / "probe")

    yield at
    assert list(elsewhere.iterdir()) == []
    assert os.environ["MODELSCOPE_CACHE"] == str(elsewhere)
    assert "SKINFLOW_STAGE" not in os.environ
    assert not list((tmp_path / "probe").rglob("checkpoint-*"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["warmup", "diagnosis"])
def test_all_of_a_dynamic_model_trains(look: Look, stage: str) -> None:
    found = look(stage, DVE)
    assert [part.name for part in found.parts] == [TOWER, ROUTERS, PROJECTOR, LANGUAGE]
    assert found.trained == found.parameters == sum(part.trained for part in found.parts) > 0
    for part in found.parts:
        assert part.norm is not None
        assert part.norm > 1e-3
        # Of a router at the start the heads alone have a gradient: they are zero, and hide what lies before.
        assert part.silent == ()
    assert found.part(ROUTERS).modules == 3  # gate, up and down of the one layer with full attention


@pytest.mark.slow
def test_a_frozen_tower_and_adapters(look: Look) -> None:
    found = look("caption", DVE, "tuning={tuner: lora, encoder: frozen}")
    assert [part.name for part in found.parts if part.trained] == [ROUTERS, LORA + LANGUAGE]
    assert (found.part(TOWER).norm, found.part(LANGUAGE).trained) == (None, 0)
    assert found.part(LORA + LANGUAGE).silent == ()  # though every A has a zero gradient
    assert found.part(ROUTERS).parameters == found.part(ROUTERS).trained  # PEFT's second copy is not counted


@pytest.mark.slow
def test_what_nobody_reads_is_named(look: Look) -> None:
    found = look("warmup", "model.base=tiny:llava", DVE)
    silent = found.part(TOWER).silent
    assert 0 < len(silent) < found.part(TOWER).modules
    assert all(".layers.1." in name or "post_layernorm" in name for name in silent)
    assert found.part(ROUTERS).silent == found.part(LANGUAGE).silent == ()


@pytest.mark.slow
def test_routers_that_are_cut_off_are_named(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Router.forward

    def cut(self: Router, descriptor: Tensor) -> dict[str, Gains]:
        return {
            target: Gains(*(None if gain is None else gain.detach() for gain in gains))
            for target, gains in real(self, descriptor).items()
        }

    monkeypatch.setattr(Router, "forward", cut)
    routers = look("warmup", DVE).part(ROUTERS)
    assert routers.norm == 0.0
    assert len(routers.silent) == routers.modules == 3
    assert all(name.endswith(".dve_router") for name in routers.silent)


@pytest.mark.slow
def test_nothing_trains(look: Look) -> None:
    found = look("caption", f"stages.caption.swift={FROZEN}")
    assert found.trained == 0
    assert found.parameters > 0
    assert {part.norm for part in found.parts} == {None}


@pytest.mark.slow
def test_what_would_stop_the_run_stops_the_probe(
    look: Look, monkeypatch: pytest.MonkeyPatch, swift: None
) -> None:
    from skinflow_plugins.bridge import trainable

    def refuse(*_: Any, **__: Any) -> None:
        raise InputError("3 of 3 routers would stay frozen")

    monkeypatch.setattr(trainable, "check_trainable", refuse)
    with pytest.raises(InputError, match="3 of 3 routers"):
        look("warmup", DVE)


@pytest.mark.slow
def test_swifts_own_failures_are_named(look: Look) -> None:
    with pytest.raises(WorkFailed, match="stage warmup: swift failed: "):
        look("warmup", "stages.warmup.swift.attn_impl=nobodys")


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["{encoder: frozen}", "{tuner: lora}"])
def test_grpo_trains_what_the_probe_of_its_stage_says(
    look: Look, read: Callable[..., Any], tmp_path: Path, tuning: str
) -> None:
    """The probe runs `swift sft`; here stands what `swift rlhf` makes of the stage's own arguments."""
    overrides = (DVE, f"tuning={tuning}", "stages.caption.init=base")
    ours = look("caption", *overrides)

    from swift.pipelines.train.rlhf import SwiftRLHF

    from skinflow_plugins.bridge import run
    from skinflow_plugins.bridge.launch import variables
    from skinflow_plugins.bridge.register import register
    from skinflow_plugins.bridge.swift_yaml import arguments_of

    loaded, known = read(*overrides)
    planned, _ = run.prepare_run(loaded, known, tmp_path / "run", lambda _: None)
    stage = planned.stages[1]
    theirs: list[Any] = []

    class Until(SwiftRLHF):
        def train(self, trainer: Any) -> None:
            homes = homes_of(self.args.model_meta.model_arch, planned.family.vision_tower)
            theirs.extend(parts_of(trainer.model, homes, step=False))

    with variables({**stage.environment, "MODELSCOPE_CACHE": str(tmp_path / "cache")}):
        register()
        Until(arguments_of(stage)).main()
    plain = [dataclasses.replace(part, norm=None) for part in ours.parts]
    assert plain == theirs
    assert any(part.trained < part.parameters for part in theirs)


def test_no_reference_answers(read: Callable[..., Any], tmp_path: Path) -> None:
    loaded, known = read()
    records = source_records(loaded.recipe, known, tmp_path)
    mute = [dataclasses.replace(each, caption={}) for each in records]
    with pytest.raises(WorkFailed, match="stage caption: no training record has a reference answer"):
        probes.probe(loaded.recipe, known, loaded.recipe.stage("caption"), mute, tmp_path)


def test_one_step_keeps_what_chooses_what_trains(read: Callable[..., Any]) -> None:
    loose = "stages.*.init=base"  # stages that hand nothing over may differ
    swift = (
        "{deepspeed: zero3, loss_type: dapo, beta: 0.1, lora_rank: 4, per_device_train_batch_size: 3,"
        " gradient_accumulation_steps: 8, max_steps: 500, gradient_checkpointing: true, num_generations: 3}"
    )
    loaded, _ = read(DVE, "model.vision.link=copy", LORA_TUNING, loose, f"stages.caption.swift={swift}")
    recipe = probes.supervised(loaded.recipe, loaded.recipe.stage("caption"))
    (stage,) = recipe.stages
    assert (stage.kind, list(stage.teach), stage.rewards, stage.init) == ("sft", ["caption"], (), "base")
    assert recipe.model.vision.options["link"] == "symlink"
    assert recipe.tuning == loaded.recipe.tuning
    for name in ("deepspeed", "loss_type", "beta", "num_generations"):
        assert name not in stage.swift
    wanted = {"lora_rank": 4, "gradient_checkpointing": True, "max_steps": 1, "save_strategy": "no"}
    wanted |= {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 1}
    assert {name: stage.swift[name] for name in wanted} == wanted
    taught = probes.supervised(loaded.recipe, loaded.recipe.stage("warmup")).stages[0]
    assert set(taught.teach) == {"caption", "diagnosis"}

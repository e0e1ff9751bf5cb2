"""Every tuning of a recipe with a dynamic encoder trains exactly what it says, and saves all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

ROUTERS = {f"model.visual.blocks.1.mlp.{name}_proj.dve_router" for name in ("gate", "up", "down")}
TUNINGS = [
    # tuner, encoder, what changes of the model itself, where LoRA is put
    ("full", "trained", {"router", "projection", "tower", "aligner", "language"}, None),
    ("full", "frozen", {"router", "aligner", "language"}, None),
    ("lora", "trained", {"router"}, {"tower", "aligner", "language"}),
    ("lora", "frozen", {"router"}, {"language"}),
    ("routers", "trained", {"router", "projection", "tower"}, None),
    ("routers", "frozen", {"router"}, None),
]


def part(name: str) -> str:
    """The part of the model that a parameter or module of a tiny Qwen2.5-VL belongs to."""
    kinds = {
        "router": r"\.dve_router(\.|$)",
        "projection": r"visual\.blocks\.1\.mlp\.\w+_proj(\.|$)",
        "aligner": r"visual\.merger\.",
        "tower": r"visual\.",
    }
    return next((kind for kind, pattern in kinds.items() if re.search(pattern, name)), "language")


def own_names(model: Any) -> dict[str, Any]:
    """The parameters that count, under the names that they have without PEFT; none of LoRA."""
    found = {}
    for name, value in model.named_parameters():
        if ".lora_" in name or ".original_module." in name:
            continue
        name = name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
        found[name.replace(".base_layer", "")] = value
    return found


@pytest.mark.parametrize(("tuner", "encoder", "parts", "adapted"), TUNINGS)
def test_what_trains(lab: Any, tuner: str, encoder: str, parts: set[str], adapted: set[str] | None) -> None:
    import torch
    from safetensors.torch import load_file
    from torch import nn

    from skinflow_plugins.models import load

    trained = lab.train(f"tuning={{tuner: {tuner}, encoder: {encoder}}}", start="random")
    before = load(trained.base)
    started, ended = dict(before.named_parameters()), own_names(trained.model)
    assert started.keys() == ended.keys()
    changed = {name for name, value in started.items() if not value.equal(ended[name])}
    assert changed == {name for name in started if part(name) in parts}
    requested = {name for name, value in ended.items() if value.requires_grad}
    assert requested == changed

    routers = {name: value for name, value in ended.items() if part(name) == "router"}
    assert {name.rpartition(".")[0] for name in routers} == ROUTERS
    assert len(routers) == 3 * (2 + 3 * 2)  # a hidden layer with its norm; weight and bias of three heads
    assert {value.dtype for value in routers.values()} == {torch.float32}
    assert all(step["grad_norm"] > 0 for step in trained.steps())

    lora = {name for name, _ in trained.model.named_parameters() if ".lora_" in name}
    linears = {name for name, module in before.named_modules() if type(module) is nn.Linear}
    expected = {name for name in linears - {"lm_head"} if part(name) in (adapted or ())}
    assert {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in lora} == expected

    end = trained.checkpoint(4)
    if trained.stage.arguments["tuner_type"].value == "full":
        saved = load_file(end / "model.safetensors")
        assert saved.keys() == ended.keys()
        assert all(saved[name].equal(value) for name, value in ended.items())
        return
    saved = load_file(end / "adapter_model.safetensors")
    wanted = {name.replace(".default", "") for name in lora} | {f"base_model.model.{n}" for n in routers}
    assert saved.keys() == wanted
    assert all(saved[f"base_model.model.{name}"].equal(value) for name, value in routers.items())
    assert {value.dtype for value in saved.values()} == {torch.float32}
    assert json.loads((end / "adapter_config.json").read_text())["modules_to_save"] == ["dve_router"]
    # PEFT keeps the routers of before for the KL reference
    kept = {name: value for name, value in trained.model.named_parameters() if ".original_module." in name}
    assert len(kept) == len(routers)
    for name, value in kept.items():
        own = name.removeprefix("base_model.model.").replace(".original_module", "")
        assert value.equal(started[own])
        assert not value.requires_grad


def test_a_router_for_a_whole_block_trains_too(lab: Any) -> None:
    """One router beside the projections instead of one inside each; and bases that keep the old weights."""
    from safetensors.torch import load_file

    plan = lab.plan(
        "tuning={tuner: lora, encoder: frozen}",
        "model.vision={router: block, frozen_bases: true}",
        "swift.max_steps=2",
        start="fresh",
    )
    trained = lab.run(plan, "first")
    started, ended = (dict(own_names(model)) for model in (trained.load(0), trained.model))
    changed = {name for name, value in started.items() if not value.equal(ended[name])}
    assert {name.rpartition(".")[0] for name in changed} == {"model.visual.blocks.1.mlp.dve_router"}
    saved = load_file(trained.checkpoint(2) / "adapter_model.safetensors")
    assert {name for name in saved if ".lora_" not in name} == {
        f"base_model.model.{name}" for name in started if part(name) == "router"
    }
    assert not [name for name in saved if "base_weight" in name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target_modules", "q_proj", "down_proj"], r"down_proj is an image-dependent projection"),
        (["--target_modules", "gate_proj", "--modules_to_save", "lm_head"], r"gate_proj is an image-dep"),
        (["--target_regex", r".*visual.*\.up_proj"], r"up_proj is an image-dependent projection"),
    ],
    ids=["by name", "without routers", "by expression"],
)
def test_lora_on_a_projection_is_refused(lab: Any, arguments: list[str], words: str) -> None:
    """By hand, past the recipe: the model itself refuses, before anything is trained."""
    from skinflow_plugins.errors import WorkFailed

    plan = lab.plan("tuning={tuner: lora, encoder: frozen}")
    with pytest.raises(WorkFailed, match=words) as caught:
        lab.run(plan, "first", *arguments)
    assert "modules_to_save=['dve_router']" in str(caught.value)  # it says what to do instead
    assert not list(plan.folder(plan.stages[1]).glob("checkpoint-*"))


@pytest.mark.parametrize(
    ("tuning", "arguments", "words"),
    [
        ("{tuner: lora}", ["--modules_to_save", ".*dve_router"], "3 of 3 routers would stay frozen"),
        ("{tuner: full, encoder: frozen}", ["--trainable_parameters_regex", "lm_head"], "3 of 3 routers"),
    ],
)
def test_routers_that_would_stay_frozen_stop_the_training(
    lab: Any, tuning: str, arguments: list[str], words: str
) -> None:
    """By hand, past the recipe: swift and PEFT would train the rest without a word."""
    from skinflow_plugins.errors import InputError

    plan = lab.plan(f"tuning={tuning}")
    with pytest.raises(InputError, match=words):
        lab.run(plan, "first", *arguments)
    assert not list(plan.folder(plan.stages[1]).glob("checkpoint-*"))


def test_a_command_without_our_callback_is_guarded_too(lab: Any) -> None:
    """`swift rlhf --external_plugins ...` typed by hand, with swift's own defaults for what is trained."""
    from skinflow_plugins.bridge.launch import launch
    from skinflow_plugins.bridge.swift_yaml import arguments_of
    from skinflow_plugins.errors import InputError

    plan = lab.plan("tuning={tuner: lora, encoder: frozen}")
    stage = plan.stages[1]
    argv = arguments_of(stage)
    for name in ("--callbacks", "--modules_to_save"):
        place = argv.index(name)
        del argv[place : place + 2]
    with lab.reward(), pytest.raises(InputError, match="3 of 3 routers would stay frozen"):
        launch(plan.recipe.launch, stage.command, argv, stage.environment, what="by hand")


def test_the_reward_is_nobody_elses(lab: Any, read: Callable[..., Any]) -> None:
    """The third party's reward of these tests is gone when they are done with it."""
    with lab.reward():
        assert "tell_apart" in read()[1].table("rewards")
    assert "tell_apart" not in read()[1].table("rewards")

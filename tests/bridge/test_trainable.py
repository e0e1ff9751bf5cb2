"""Frozen routers, adapters on projections, lost precision: each is an error before the first step."""

from __future__ import annotations

import copy
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PretrainedConfig

from skinflow_plugins.bridge.trainable import (
    check_precision,
    check_trainable,
    is_dynamic,
    refresh_bases,
    routers,
)
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe.tuning import _ARGUMENTS, ROUTER_PARAMETERS
from skinflow_plugins.vision import FDProjection, Router

WIDTH, INNER = 16, 24


class Mlp(nn.Module):
    """gate and down are dynamic, up is not; `shared` routers stand beside them instead of inside."""

    def __init__(self, dynamic: bool, shared: bool = False) -> None:
        super().__init__()
        linear: Any = nn.Linear
        if dynamic:

            def linear(inputs: int, outputs: int) -> FDProjection:
                return FDProjection(inputs, outputs, bands=2, router=not shared)

        self.gate_proj = linear(WIDTH, INNER)
        self.up_proj = nn.Linear(WIDTH, INNER)
        self.down_proj = linear(INNER, WIDTH)
        if shared:
            self.dve_router = Router(WIDTH, {"gate": (WIDTH, INNER), "down": (INNER, WIDTH)}, 2)


class Blocks(nn.Module):
    def __init__(self, *mlps: Mlp) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for mlp in mlps:
            block = nn.Module()
            block.mlp = mlp
            self.blocks.append(block)


class Model(nn.Module):
    """visual.blocks.1 has dynamic projections, visual.blocks.0 and the language model have none."""

    def __init__(self, shared: bool = False, dve: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.config = PretrainedConfig(dve={"bands": 2} if dve is None else dve)
        self.visual = Blocks(Mlp(False), Mlp(True, shared))
        self.language_model = Blocks(Mlp(False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def adapted(model: nn.Module, targets: Any, saved: list[str] | None = None) -> nn.Module:
    return get_peft_model(model, LoraConfig(r=2, target_modules=targets, modules_to_save=saved))


def complaint(model: nn.Module, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        check_trainable(model, **options)
    assert len(caught.value.problems) == 1, str(caught.value)
    return str(caught.value)


LLM = r"language_model\..*_proj"


# --- what is right --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_full_tuning(shared: bool) -> None:
    model = Model(shared)
    assert len(routers(model)) == (1 if shared else 2)
    check_trainable(model)
    model.visual.requires_grad_(False)
    for name, parameter in model.named_parameters():  # as swift does it with trainable_parameters_regex
        if re.search(ROUTER_PARAMETERS, name):
            parameter.requires_grad = True
    check_trainable(model)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    "targets", [LLM, _ARGUMENTS["routers", "frozen"]["target_regex"].value], ids=["lora", "routers"]
)
def test_through_peft(targets: str, shared: bool) -> None:
    """The second pins PEFT's own word for no adapter at all, which its documentation does not mention."""
    model = adapted(Model(shared), targets, ["dve_router"])
    assert [name.rpartition(".")[2] for name, _ in routers(model)] == ["dve_router"] * (1 if shared else 2)
    check_trainable(model)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert any(".modules_to_save.default.band" in name or "gate_band" in name for name in trained)
    assert any("lora_" in name for name in trained) == (targets == LLM)
    assert all("lora_" in name or ".dve_router.modules_to_save.default." in name for name in trained)


def test_wrappers_around_the_model_are_looked_through() -> None:
    model = Model()
    engine = nn.Module()
    engine.module = model
    engine.config = {"zero_optimization": {}}
    check_trainable(engine)
    model.visual.requires_grad_(False)
    assert "2 of 2 routers would stay frozen" in complaint(engine)


def test_a_reference_adapter_is_frozen_and_that_is_right() -> None:
    model: Any = adapted(Model(), LLM, ["dve_router"])
    model.add_adapter("ref_adapter", LoraConfig(r=2, target_modules=LLM, modules_to_save=["dve_router"]))
    model.set_adapter("default")
    check_trainable(model)
    model.set_adapter("ref_adapter")
    for name, parameter in model.named_parameters():
        if "modules_to_save.ref_adapter" in name:
            parameter.requires_grad = False
    assert "2 of 2 routers" in complaint(model)


def test_other_models_are_left_alone() -> None:
    model = Model(dve={})
    assert not is_dynamic(model)
    model.requires_grad_(False)
    check_trainable(model)
    check_precision(model.bfloat16())
    check_trainable(nn.Linear(2, 2))
    refresh_bases(nn.Linear(2, 2))


# --- what is not ----------------------------------------------------------------------------------------


def test_frozen_routers() -> None:
    model = Model()
    model.visual.blocks[1].mlp.down_proj.dve_router.requires_grad_(False)
    found = complaint(model)
    assert "1 of 2 routers would stay frozen: visual.blocks.1.mlp.down_proj.dve_router" in found
    assert r"--trainable_parameters_regex '\.dve_router\.'" in found
    model.visual.blocks[1].mlp.gate_proj.dve_router.norm_weight.requires_grad_(False)
    assert "2 of 2 routers" in complaint(model)  # a part of one is enough


@pytest.mark.parametrize("saved", [None, [".*dve_router"], ["mlp.dve_router"], ["up_proj"]])
def test_peft_freezes_what_modules_to_save_does_not_meet(saved: list[str] | None) -> None:
    found = complaint(adapted(Model(), LLM, saved))
    assert "2 of 2 routers would stay frozen" in found
    assert "--modules_to_save dve_router (exactly this word" in found


def test_one_router_of_two() -> None:
    found = complaint(adapted(Model(), LLM, ["gate_proj.dve_router"]))
    assert (
        "1 of 2 routers would stay frozen: base_model.model.visual.blocks.1.mlp.down_proj.dve_router" in found
    )


def test_a_model_without_any_router() -> None:
    model = Model()
    model.visual.blocks[1] = model.visual.blocks[0]
    assert "the model has no module 'dve_router'" in complaint(model)


@pytest.mark.parametrize("targets", [["gate_proj"], r".*gate_proj", ["visual.blocks.1.mlp.gate_proj"]])
def test_lora_on_a_projection(targets: Any) -> None:
    """Also that PEFT, which knows nothing of freeze_vit, puts it there for the language model's name."""
    model = adapted(Model(shared=True), targets, ["dve_router"])
    found = complaint(model)
    assert "1 dynamic projections carry an adapter: base_model.model.visual.blocks.1.mlp.gate_proj;" in found
    assert "--target_regex" in found


def test_lost_precision() -> None:
    model = Model()
    model.visual.blocks[1].mlp.gate_proj.dve_router.bfloat16()
    found = complaint(model)
    assert (
        "8 router parameters are not float32: visual.blocks.1.mlp.gate_proj.dve_router.reduce_weight" in found
    )
    assert "(bfloat16)" in found
    assert "and 5 more" in found
    check_trainable(model, any_precision=True)
    with pytest.raises(InputError, match="not float32"):
        check_precision(model)
    check_precision(Model())


def test_everything_at_once() -> None:
    model = adapted(Model(shared=True).bfloat16(), ["gate_proj"])
    with pytest.raises(InputError) as caught:
        check_trainable(model)
    assert len(caught.value.problems) == 3


# --- bases ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [False, True])
def test_bases_follow_weights_that_were_changed_unseen(wrap: bool) -> None:
    model = Model()
    projection: FDProjection = model.visual.blocks[1].mlp.gate_proj
    outer = adapted(model, LLM, ["dve_router"]) if wrap else model
    projection.weight.requires_grad_(True)  # frozen by PEFT
    before = projection.bases().clone()
    projection.weight.data.mul_(2)  # past autograd's version counter, as DeepSpeed does it
    assert torch.equal(projection.bases(), before)
    refresh_bases(outer)
    assert torch.allclose(projection.bases(), 2 * before)


def test_bases_of_frozen_weights_are_kept() -> None:
    model = Model()
    projection: FDProjection = model.visual.blocks[1].mlp.gate_proj
    projection.weight.requires_grad_(False)
    kept = projection.bases()
    refresh_bases(model)
    assert projection.bases() is kept
    refresh_bases(model, frozen=True)
    assert projection.bases() is not kept


def test_the_guard_asks_and_refreshes() -> None:
    from skinflow_plugins.bridge.dynamic_guard import DynamicGuard

    called, model = DynamicGuard(), Model()
    plain = SimpleNamespace(deepspeed=None)
    called.on_init_end(plain, None, None, model=model)
    called.on_train_begin(plain, None, None, model=model)

    frozen = copy.deepcopy(model)
    frozen.visual.requires_grad_(False)
    with pytest.raises(InputError, match="2 of 2 routers"):
        called.on_train_begin(plain, None, None, model=frozen)
    cast = Model().bfloat16()
    for event in (called.on_init_end, called.on_train_begin):
        with pytest.raises(InputError, match="not float32"):
            event(plain, None, None, model=cast)
    # DeepSpeed has cast the model by the time when training begins.
    called.on_train_begin(SimpleNamespace(deepspeed={"bf16": {}}), None, None, model=cast)

    for event in (called.on_optimizer_step, called.on_step_end):
        projection = model.visual.blocks[1].mlp.down_proj
        before = projection.bases().clone()
        projection.weight.data.mul_(2)
        event(plain, None, None, model=model)
        assert torch.allclose(projection.bases(), 2 * before)


def test_the_guard_stands_in_every_trainer_once() -> None:
    from transformers import trainer

    from skinflow_plugins.bridge.dynamic_guard import DynamicGuard, guard_trainers

    guard_trainers()
    guard_trainers()
    assert trainer.DEFAULT_CALLBACKS.count(DynamicGuard) == 1


def test_the_callback_refreshes_a_reference_that_follows_the_policy() -> None:
    from skinflow_plugins.bridge.callback import SkinflowCallback

    reference = Model()
    reference.requires_grad_(False)
    called = SkinflowCallback(SimpleNamespace(), SimpleNamespace(ref_model=reference))
    projection = reference.visual.blocks[1].mlp.down_proj
    before = projection.bases().clone()
    projection.weight.data.mul_(2)
    called.on_step_begin(SimpleNamespace(sync_ref_model=True), None, None)
    assert torch.allclose(projection.bases(), 2 * before)

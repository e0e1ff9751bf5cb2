"""Learning rate and weight decay of the routers, in the groups of the Trainer's own optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PretrainedConfig, Trainer, TrainingArguments

from skinflow_plugins.bridge.settings import StageSettings
from skinflow_plugins.errors import InputError
from skinflow_plugins.recipe.plan import STAGE_VARIABLE
from skinflow_plugins.recipe.schema import Tuning
from skinflow_plugins.vision import Router

RATE, DECAY = 1e-4, 0.3  # of the Trainer


class Model(nn.Module):
    """A linear, a norm, a router of its own and one for a block."""

    def __init__(self) -> None:
        super().__init__()
        self.config = PretrainedConfig(dve={"bands": 2})
        self.linear = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.proj = nn.Module()
        self.proj.dve_router = Router(16, {"": (16, 16)}, 2)
        self.mlp = nn.Module()
        self.mlp.dve_router = Router(16, {"gate": (16, 16), "up": (16, 16)}, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def under(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Let this process run a stage with this tuning."""

    def settle(**tuning: Any) -> None:
        path = tmp_path / "stage.json"
        path.write_text(StageSettings("s", str(tmp_path), (), Tuning(**tuning)).to_json())
        monkeypatch.setenv(STAGE_VARIABLE, str(path))

    return settle


def trainer(model: nn.Module, folder: Path, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=RATE,
        weight_decay=DECAY,
        use_cpu=True,
        report_to=[],
        lr_scheduler_type="linear",
        warmup_steps=2,
        **options,
    )
    return Trainer(model=model, args=arguments)


def optimizer(model: nn.Module, folder: Path, **options: Any) -> torch.optim.Optimizer:
    """As swift's trainer makes it for `--optimizer skinflow`."""
    from skinflow_plugins.bridge.optimizer import SkinflowOptimizer

    around = trainer(model, folder, **options)
    made = SkinflowOptimizer(around.args, around).create_optimizer()
    around.optimizer = made
    return made


def settings_by_name(model: nn.Module, made: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) of every parameter in the optimizer; each must be there once."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rows = [
        (names[id(p)], (group["lr"], group["weight_decay"]))
        for group in made.param_groups
        for p in group["params"]
    ]
    assert len(rows) == len(dict(rows))
    return dict(rows)


def kind(name: str) -> str:
    if "dve_router" not in name:
        return "other"
    return "trunk" if name.endswith(("reduce_weight", "norm_weight")) else "head"


def test_groups(under: Any, tmp_path: Path) -> None:
    under(router_learning_rate=1e-2, router_weight_decay=0.05)
    model = Model()
    theirs = settings_by_name(model, trainer(model, tmp_path).create_optimizer())
    ours = settings_by_name(model, optimizer(model, tmp_path))
    assert ours.keys() == theirs.keys() == dict(model.named_parameters()).keys()
    for name, found in ours.items():
        expected = {"head": (1e-2, 0.05), "trunk": (1e-2, 0.0), "other": theirs[name]}[kind(name)]
        assert found == expected, name
    heads = {name for name in ours if kind(name) == "head"}
    assert len(heads) == 3 * 3 * 2  # three targets, three gates, weight and bias
    assert {"proj.dve_router.band_bias", "mlp.dve_router.gate_input_weight"} <= heads
    assert theirs["linear.weight"] == (RATE, DECAY)
    assert theirs["linear.bias"] == theirs["norm.weight"] == (RATE, 0.0)


@pytest.mark.parametrize(
    ("tuning", "head"),
    [
        ({"router_learning_rate": 1e-2}, (1e-2, 0.0)),
        ({"router_weight_decay": 0.05}, (RATE, 0.05)),
        ({"router_weight_decay": 0.0}, (RATE, 0.0)),
    ],
)
def test_what_is_not_given(
    tuning: dict[str, float], head: tuple[float, float], under: Any, tmp_path: Path
) -> None:
    under(**tuning)
    model = Model()
    found = settings_by_name(model, optimizer(model, tmp_path))
    assert {value for name, value in found.items() if kind(name) == "head"} == {head}
    assert {value for name, value in found.items() if kind(name) == "trunk"} == {(head[0], 0.0)}


@pytest.mark.parametrize("targets", [["linear"], "dummy-target-modules"])
def test_through_peft(targets: Any, under: Any, tmp_path: Path) -> None:
    under(router_learning_rate=1e-2, router_weight_decay=0.05)
    model = get_peft_model(Model(), LoraConfig(r=2, target_modules=targets, modules_to_save=["dve_router"]))
    found = settings_by_name(model, optimizer(model, tmp_path))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(found) == trained
    assert found["base_model.model.proj.dve_router.modules_to_save.default.band_weight"] == (1e-2, 0.05)
    assert found["base_model.model.mlp.dve_router.modules_to_save.default.norm_weight"] == (1e-2, 0.0)
    lora = {value for name, value in found.items() if "lora_" in name}
    assert lora == ({(RATE, DECAY)} if targets == ["linear"] else set())


def test_schedules_scale_every_group_from_its_own_rate(under: Any, tmp_path: Path) -> None:
    from skinflow_plugins.bridge.optimizer import SkinflowOptimizer

    under(router_learning_rate=1e-2)
    model = Model()
    around = trainer(model, tmp_path)
    made = around.optimizer = SkinflowOptimizer(around.args, around).create_optimizer()
    schedule = around.create_scheduler(10, made)
    seen = set()
    for _ in range(10):
        rates = [group["lr"] for group in made.param_groups if group["params"]]
        assert rates[-1] == pytest.approx(rates[0] * 1e-2 / RATE)
        seen.add(rates[0])
        made.step()
        schedule.step()
    assert len(seen) > 5
    assert made.param_groups[-1]["lr"] == 0


def test_decay_pulls_heads_to_the_identity_and_leaves_the_trunk(under: Any, tmp_path: Path) -> None:
    under(router_learning_rate=1e-1, router_weight_decay=1.0)
    model = Model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    made = optimizer(model, tmp_path)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    for name, parameter in model.named_parameters():
        expected = {"head": 0.9, "trunk": 1.0}.get(kind(name))
        assert expected is None or parameter.flatten()[0].item() == pytest.approx(expected), name


def test_a_resumed_optimizer_has_the_same_groups(under: Any, tmp_path: Path) -> None:
    under(router_learning_rate=1e-2, router_weight_decay=0.05)
    first, second = Model(), Model()
    saved, again = optimizer(first, tmp_path), optimizer(second, tmp_path)
    for parameter in first.parameters():
        parameter.grad = torch.ones_like(parameter)
    saved.step()
    again.load_state_dict(saved.state_dict())
    assert settings_by_name(second, again) == settings_by_name(first, saved)


def test_another_optim_is_kept(under: Any, tmp_path: Path) -> None:
    under(router_learning_rate=1e-2, router_weight_decay=0.05)
    model = Model()
    made = optimizer(model, tmp_path, optim="adafactor")
    assert type(made).__name__ == "Adafactor"
    assert settings_by_name(model, made)["proj.dve_router.band_bias"] == (1e-2, 0.05)


def test_nothing_to_give_it_to_is_an_error(
    under: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under(router_learning_rate=1e-2)
    model = Model()
    model.proj.requires_grad_(False)
    optimizer(model, tmp_path)  # one router is left
    model.mlp.requires_grad_(False)
    with pytest.raises(InputError, match="no router parameter is trained") as caught:
        optimizer(model, tmp_path)
    assert "leave out tuning.router_learning_rate" in str(caught.value)
    monkeypatch.delenv(STAGE_VARIABLE)
    with pytest.raises(InputError, match="leave out --optimizer skinflow"):
        optimizer(Model(), tmp_path)


def test_swift_finds_it_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from swift.optimizers import OptimizerCallback, optimizers_map

    from skinflow_plugins.bridge.optimizer import SkinflowOptimizer
    from skinflow_plugins.bridge.register import register
    from skinflow_plugins.recipe.tuning import OPTIMIZER

    monkeypatch.delenv(STAGE_VARIABLE, raising=False)
    register()
    assert optimizers_map[OPTIMIZER] is SkinflowOptimizer
    assert issubclass(SkinflowOptimizer, OptimizerCallback)

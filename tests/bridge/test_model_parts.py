"""Parameters counted where they are, under the names that PEFT gives them."""

from __future__ import annotations

import torch
from torch import nn

from skinflow_plugins.bridge.model_parts import ELSEWHERE, LANGUAGE, LORA, PROJECTOR, ROUTERS, TOWER, parts_of


def test_parameters_are_counted_where_they_are() -> None:
    """A module counts as alive where any of its tensors has a gradient."""
    model = nn.Module()
    names = {
        "base_model.model.model.visual.blocks.0.fc.weight": False,
        "base_model.model.model.visual.blocks.0.fc.dve_router.original_module.band_weight": False,
        "base_model.model.model.visual.blocks.0.fc.dve_router.modules_to_save.default.band_weight": True,
        "base_model.model.model.visual.blocks.0.fc.dve_router.modules_to_save.default.reduce_weight": True,
        "base_model.model.model.visual.merger.0.weight": False,
        "base_model.model.model.language_model.q.base_layer.weight": False,
        "base_model.model.model.language_model.q.lora_A.default.weight": True,
        "base_model.model.model.language_model.q.lora_B.default.weight": True,
        "base_model.model.something.weight": True,
    }
    gradients = {
        "band_weight": [3.0, 4.0],
        "reduce_weight": [0.0, 0.0],
        "lora_A": [0.0, 0.0],
        "lora_B": [0.0, 0.0],
        "something": None,
    }
    tensors = {name: nn.Parameter(torch.ones(2), requires_grad=trains) for name, trains in names.items()}
    for name, tensor in tensors.items():
        for part, gradient in gradients.items():
            if part in name and gradient is not None and tensor.requires_grad:
                tensor.grad = torch.tensor(gradient)
    model.named_parameters = lambda *_, **__: iter(tensors.items())  # type: ignore[assignment,method-assign]
    homes = {"model.visual": TOWER, "model.visual.merger": PROJECTOR, "model.language_model": LANGUAGE}
    found = {part.name: part for part in parts_of(model, homes, step=True)}
    assert {name: (part.parameters, part.trained, part.norm) for name, part in found.items()} == {
        TOWER: (2, 0, None),
        ROUTERS: (4, 4, 5.0),
        PROJECTOR: (2, 0, None),
        LANGUAGE: (2, 0, None),
        ELSEWHERE: (2, 2, 0.0),
        LORA + LANGUAGE: (4, 4, 0.0),
    }
    assert {name: part.silent for name, part in found.items() if part.silent} == {
        ELSEWHERE: ("something",),
        LORA + LANGUAGE: ("model.language_model.q (LoRA)",),
    }
    assert {part.silent for part in parts_of(model, homes, step=False)} == {()}

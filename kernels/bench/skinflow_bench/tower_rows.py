"""A whole vision tower with and without dynamic projections: what is run, and whether both compute the same.

Both towers have the same random weights; the routers of the dynamic one are set away from identity. Axis
letters: P patches packed over images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from skinflow_bench import attention
from skinflow_bench.clocks import Timed
from skinflow_bench.floors import BOTH, FORWARD
from skinflow_bench.sizes import ModelSize
from skinflow_kernels import band_thresholds
from skinflow_plugins.models.dynamic import DynamicSettings
from skinflow_plugins.models.dynamic.model import attribute, make_dynamic
from skinflow_plugins.models.seam import ROUTER

BANDS = 4
PLAIN, DYNAMIC = "plain tower", "dynamic tower"
TOWER_CLASSES = {
    "qwen2_5_vl": "qwen2_5_vl.modeling_qwen2_5_vl:Qwen2_5_VisionTransformerPretrainedModel",
    "qwen3_vl": "qwen3_vl.modeling_qwen3_vl:Qwen3VLVisionModel",
}


@dataclass
class Towers:
    """The two towers of a model and one pack of images for them."""

    size: ModelSize
    device: torch.device
    dtype: torch.dtype
    images: int
    side: int
    attention: str
    plain: Any = field(init=False)
    dynamic: Any = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.config = self.size.config()
        module, _, name = TOWER_CLASSES[self.size.family_name].partition(":")
        made = getattr(import_module(f"transformers.models.{module}"), name)
        with torch.device(self.device):
            self.plain = made._from_config(
                self.config.vision_config, dtype=self.dtype, attn_implementation="sdpa"
            )
        attention.use(self.plain, self.attention)
        self.dynamic = dynamic_copy(self.plain, self.size, self.config)
        self.pixels, self.grid = self.images_of(self.images, self.side)

    def images_of(self, images: int, side: int) -> tuple[Tensor, Tensor]:
        """Random patches (P, 3 * 2 * patch * patch), and the grid of each image."""
        vision = self.config.vision_config
        grid = torch.tensor([[1, side, side]] * images, device=self.device)
        features = 3 * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.randn(images * side * side, features, device=self.device, dtype=self.dtype)
        return pixels, grid

    def outputs(self, tower: Any) -> list[Tensor]:
        """Everything that the language model reads of a tower's output."""
        out = tower(self.pixels, grid_thw=self.grid)
        return [out.pooler_output, *(getattr(out, "deepstack_features", None) or ())]

    @property
    def first_block(self) -> Any:
        """The first dynamic block, at its place in the plain tower."""
        seam = self.size.family.seam
        assert seam is not None
        return attribute(self.plain, seam.blocks, self.size.family)[
            seam.layers(self.config, self.size.layers)[0]
        ]


def dynamic_copy(tower: Any, size: ModelSize, config: Any) -> Any:
    """A copy of a tower with dynamic projections, whose routers are away from identity."""
    family = size.family
    seam = family.seam
    assert seam is not None
    found = copy.deepcopy(tower)
    layers = seam.layers(config, size.layers)
    block = attribute(found, seam.blocks, family)[layers[0]]
    linears = {
        name: attribute(block, f"{seam.mlp}.{child}", family) for name, child in seam.projections.items()
    }
    settings = DynamicSettings(
        layers=layers,
        projections=seam.chosen("all"),
        bands=BANDS,
        thresholds={name: band_thresholds(*linear.weight.shape, BANDS) for name, linear in linears.items()},
    )
    model: Any = reduce(
        lambda inner, name: SimpleNamespace(**{name: inner}), reversed(family.vision_tower.split(".")), found
    )
    make_dynamic(model, family, settings)
    set_heads(found, std=0.1)
    return found


def routers(tower: nn.Module) -> dict[str, Tensor]:
    """The parameters of every router."""
    return {name: parameter for name, parameter in tower.named_parameters() if ROUTER in name}


def set_heads(tower: nn.Module, *, std: float) -> None:
    """Draw the routers' heads anew; with 0 the tower computes what the plain one does."""
    for name, parameter in routers(tower).items():
        if name.rpartition(".")[2] not in ("reduce_weight", "norm_weight"):
            nn.init.normal_(parameter, std=std)


def rows(towers: Towers) -> Iterator[tuple[str, str, str, Timed]]:
    """(tower, what is trained, mode, what is timed)."""

    def forward(tower: Any) -> Timed:
        return Timed(lambda _: torch.no_grad()(towers.outputs)(tower))

    for name, tower in ((PLAIN, towers.plain), (DYNAMIC, towers.dynamic)):
        yield name, "", FORWARD, forward(tower)
    for name, tower in ((PLAIN, towers.plain), (DYNAMIC, towers.dynamic)):
        yield name, "routers", BOTH, _frozen(towers, tower)
    for name, tower in ((PLAIN, towers.plain), (DYNAMIC, towers.dynamic)):
        yield name, "all", BOTH, _trained(towers, tower)


def _trained(towers: Towers, tower: Any) -> Timed:
    parameters = list(tower.parameters())
    return Timed(
        lambda dy: gradients(towers.outputs(tower), parameters, dy),
        before=_before(towers, tower, parameters),
    )


def _frozen(towers: Towers, tower: Any) -> Timed:
    """Gradients of the routers alone; in the plain tower, of what enters the first dynamic block."""
    wanted = list(routers(tower).values())
    if wanted:
        return Timed(
            lambda dy: gradients(towers.outputs(tower), wanted, dy), before=_before(towers, tower, wanted)
        )

    def run(dy: list[Tensor]) -> object:
        with _entering(towers.first_block) as entered:
            outputs = towers.outputs(tower)
        return gradients(outputs, entered, dy)

    return Timed(run, before=_before(towers, tower, []))


def _before(towers: Towers, tower: Any, trained: list[Tensor]) -> Callable[[], list[Tensor]]:
    def before() -> list[Tensor]:
        tower.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_()
        if not kept:
            kept.extend(torch.randn_like(each) for each in torch.no_grad()(towers.outputs)(tower))
        return kept

    kept: list[Tensor] = []
    return before


def gradients(outputs: list[Tensor], wanted: list[Tensor], dy: list[Tensor]) -> tuple[Tensor, ...]:
    """The gradients of some tensors from those of the outputs."""
    return torch.autograd.grad(outputs, wanted, dy)


@contextmanager
def _entering(block: Any) -> Iterator[list[Tensor]]:
    """Collects the hidden states that enter a block, cut off from what made them."""
    entered: list[Tensor] = []

    def cut(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        entered.append(given[0].detach().requires_grad_())
        return (entered[0], *given[1:])

    handle = block.register_forward_pre_hook(cut)
    try:
        yield entered
    finally:
        handle.remove()

"""The MLP of a vision block with some of its linears made image-dependent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from skinflow_kernels import activated_means, segment_means
from skinflow_plugins.models.dynamic.settings import DynamicSettings
from skinflow_plugins.models.seam import VisionSeam
from skinflow_plugins.vision import FDProjection, Gains, Router, pack


class DynamicMLP(nn.Module):
    """down(act(gate(x)) * up(x)), or down(act(up(x))), as the base model's MLP computes it.

    Its linears are the base model's own, under their own names; those that `settings` choose are projections
    around the same parameters. They cannot be replaced afterwards: an adapter or a quantised layer in their
    place would compute another function once it is merged or loaded, so setting one raises `TypeError`.
    """

    projection_class: ClassVar[type[FDProjection]] = FDProjection

    def __init__(self, mlp: nn.Module, seam: VisionSeam, settings: DynamicSettings) -> None:
        super().__init__()
        self.names = dict(seam.projections)
        self.activation = seam.activation
        for child, module in mlp.named_children():
            self.add_module(child, module)
        if seam.activation not in self._modules:  # a plain function
            setattr(self, seam.activation, getattr(mlp, seam.activation))
        linears = {name: getattr(mlp, self.names[name]) for name in settings.projections}
        shared = settings.router == "block"
        for name, linear in linears.items():
            projection = self.projection_class.from_linear(
                linear,
                settings.bands,
                gates=settings.gates,
                reduction=settings.reduction,
                router=not shared,
                thresholds=settings.thresholds[name],
                frozen_bases=settings.frozen_bases,
            )
            setattr(self, self.names[name], projection)
        first: nn.Linear = getattr(mlp, self.names["up"])
        self.dve_router = (
            Router(
                first.in_features,
                {name: (linear.in_features, linear.out_features) for name, linear in linears.items()},
                settings.bands,
                gates=settings.gates,
                reduction=settings.reduction,
                device=first.weight.device,
            )
            if shared
            else None
        )
        self.train(mlp.training)

    def forward(self, x: Tensor, segments: Tensor | None = None, keep: Tensor | None = None) -> Any:
        """The MLP of every token; `x`, `segments` and `keep` as for `FDProjection.forward`."""
        names = self.names
        tokens, segments = pack(x, segments, getattr(self, names["up"]).in_features)
        keep = None if keep is None else keep.reshape(-1)
        gains: dict[str, Gains] = {}
        means = None
        if self.dve_router is not None:
            gains = self.dve_router(segment_means(tokens, segments, keep))
        elif any(self._dynamic(name) for name in ("up", "gate") if name in names):
            means = segment_means(tokens, segments, keep)

        def project(name: str, tokens: Tensor, means: Tensor | None) -> Any:
            layer = getattr(self, names[name])
            if not isinstance(layer, FDProjection):
                return layer(tokens)
            return layer(tokens, segments, gains=gains[name] if means is None else layer.gains_of(means))

        up = project("up", tokens, means)
        gate = project("gate", tokens, means) if "gate" in names else None
        act, means = getattr(self, self.activation), None
        if self._dynamic("down") and self.dve_router is None:
            hidden, means = _activated(act, up, gate, segments, keep)
        else:
            hidden = act(up) if gate is None else act(gate) * up
        return project("down", hidden, means).view(*x.shape[:-1], -1)

    def _dynamic(self, name: str) -> bool:
        return isinstance(getattr(self, self.names[name]), FDProjection)

    def __setattr__(self, name: str, value: Any) -> None:
        there = self.__dict__.get("_modules", {}).get(name)
        if isinstance(there, FDProjection) and not isinstance(value, FDProjection):
            raise TypeError(
                f"{name} is an image-dependent projection of the dynamic vision encoder and cannot become a "
                f"{type(value).__name__}: merging it would change what the model computes. Leave it out of "
                "LoRA's target_modules and of quantisation; its router trains through "
                "modules_to_save=['dve_router']"
            )
        super().__setattr__(name, value)


_KERNELS = {
    "SiLU": "silu",
    "SiLUActivation": "silu",
    "GELUActivation": "gelu",
    "GELUTanh": "gelu_tanh",
    "QuickGELUActivation": "quick_gelu",
}
"""Which of the kernels' activations a class of transformers is."""


def _activated(
    act: Callable[[Tensor], Tensor], up: Tensor, gate: Tensor | None, segments: Tensor, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """act(gate) * up, or act(up), and its mean for each image; in one pass where there is a kernel for it."""
    name = _KERNELS.get(type(act).__name__)
    if name is not None:
        return activated_means(up, gate, segments, keep, activation=name)
    hidden = act(up) if gate is None else act(gate) * up
    return hidden, segment_means(hidden, segments, keep)

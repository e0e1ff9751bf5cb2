"""The MLP of a vision block with some of its linears made image-dependent."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from skinflow_plugins.models.dynamic.settings import DynamicSettings
from skinflow_plugins.models.seam import VisionSeam
from skinflow_plugins.vision import FDProjection, Gains, Router, image_means


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
        gains: dict[str, Gains] = {}
        if self.dve_router is not None:
            gains = self.dve_router(image_means(x, segments, keep))

        def project(name: str, tokens: Tensor) -> Any:
            layer = getattr(self, self.names[name])
            if isinstance(layer, FDProjection):
                return layer(tokens, segments, keep=keep, gains=gains.get(name))
            return layer(tokens)

        activation = getattr(self, self.activation)
        hidden = project("up", x)
        hidden = activation(project("gate", x)) * hidden if "gate" in self.names else activation(hidden)
        return project("down", hidden)

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

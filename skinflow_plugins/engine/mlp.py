"""The dynamic MLP of a vision block as vLLM runs it: the trainer's, with bases that follow a reload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

from skinflow_kernels import split_bands
from skinflow_plugins.models.dynamic.mlp import DynamicMLP
from skinflow_plugins.vision import FDProjection


class Images:
    """Which tokens belong to which image, while a tower runs; None outside of its forward."""

    def __init__(self) -> None:
        self.segments: Tensor | None = None
        self.keep: Tensor | None = None


class EngineProjection(FDProjection):
    """A projection whose bases are rebuilt when its weight was loaded, in place, and never in between.

    vLLM writes weights past autograd's version counter, by which the trainer's projection would see it. In
    place, because CUDA graphs and vLLM's sleep mode hold on to the memory that they know.
    """

    def bases(self) -> Tensor:
        """P_k W for every band, (K, O, I), of the weight that was loaded last."""
        if self._bases is None:
            self.rebuild()
        assert self._bases is not None
        return self._bases

    def rebuild(self) -> None:
        """Derive the bases from the weight; does nothing while vLLM holds the weight on the meta device."""
        source = self.weight if self.base_weight is None else self.base_weight
        if source.is_meta:
            return
        with torch.inference_mode(False), torch.no_grad():
            found = split_bands(source.detach(), self.thresholds)
            if self._bases is None or self._bases.device != found.device:
                self._bases = found
            else:
                self._bases.copy_(found)


class Rebuild(QuantizeMethodBase):
    """vLLM's hook for what a layer derives from its weights; runs after every load and every reload."""

    def create_weights(self, layer: nn.Module, *weight_args: Any, **extra_weight_attrs: Any) -> None:
        """Nothing: the projection has its weight."""

    def apply(self, layer: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """The projection's own forward."""
        result: Tensor = layer(*args, **kwargs)
        return result

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """Rebuild the bases of a projection."""
        assert isinstance(layer, EngineProjection)
        layer.rebuild()


class EngineMLP(DynamicMLP):
    """vLLM's MLPs take one tensor; which image each of its tokens belongs to, `images` knows.

    `x` is (tokens, 1, channels) in packed towers and (images, tokens, channels) in the others.
    """

    projection_class = EngineProjection

    def attend(self, images: Images, *, packed: bool) -> None:
        """Look at `images` from now on, and let vLLM rebuild the bases."""
        self.__dict__["images"], self.packed = images, packed
        for module in self.modules():
            if isinstance(module, EngineProjection):
                module.quant_method = Rebuild()

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        images: Images = self.__dict__["images"]
        if not self.packed:
            return super().forward(x, keep=images.keep)
        if images.segments is None:
            raise RuntimeError(
                "the dynamic vision encoder was not told which tokens belong to which image: the tower was "
                "not called with grid_thw (encoder CUDA graphs do that; leave cudagraph_mm_encoder off)"
            )
        return super().forward(x.reshape(-1, x.shape[-1]), images.segments).view(*x.shape[:-1], -1)


def plain_linears(mlp: nn.Module, linears: Mapping[str, str | tuple[str, int]]) -> dict[str, nn.Linear]:
    """An nn.Linear for each projection, as large as vLLM's own; the weights are loaded later."""
    found = {}
    for name, place in linears.items():
        theirs = getattr(mlp, place if isinstance(place, str) else place[0])
        outputs = theirs.output_size if isinstance(place, str) else theirs.output_sizes[place[1]]
        weight = next(theirs.parameters())
        found[name] = nn.Linear(
            theirs.input_size,
            outputs,
            bias=theirs.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        ).requires_grad_(False)
    return found

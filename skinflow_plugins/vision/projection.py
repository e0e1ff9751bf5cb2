"""A linear projection with a weight mixed per image: the SkinFlow paper's FDLinear, in residual form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.optim.optimizer import register_optimizer_step_post_hook

from skinflow_kernels import (
    band_thresholds,
    follow_weight,
    segment_means,
    split_bands,
    virtual_width_linear,
)
from skinflow_plugins.vision.router import GATES, Gains, Router


class FDProjection(nn.Linear):
    """y = f * (W_s (c * x)) + b with W_s = W + sum_k delta_k P_k W, and delta, c, f chosen for each image.

    P_k keeps one band of the weight's 2-D spectrum; the bands are disjoint and sum to the whole, so K bases
    of the weight's own size stand behind it and no parameter is added but those of the router (`dve_router`).
    `weight` and `bias` are those of the nn.Linear in whose place the projection stands, and at the start
    every mixed weight equals `weight` bit for bit.

    The class is no `...Linear` by name because ms-swift puts LoRA adapters on every class that is: merging
    one would change the function. `bands` is K; `thresholds` fix the band table, and are derived from the
    shape when they are not given; `gates` and `reduction` belong to the router; `router=False` leaves it out,
    for blocks whose projections share one. With `frozen_bases` the bases stay those of the weight at the
    start, which is then kept as the buffer `base_weight`; otherwise they follow the weight.

    Raises `ValueError` when K is larger than the number of distinct radii of the weight's shape.
    """

    base_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        bands: int = 4,
        *,
        gates: Sequence[str] = GATES,
        reduction: int = 16,
        router: bool = True,
        thresholds: Sequence[int] | None = None,
        frozen_bases: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        if thresholds is None:
            thresholds = band_thresholds(out_features, in_features, bands)
        elif len(thresholds) != bands - 1:
            raise ValueError(f"found {len(thresholds)} thresholds, expected {bands - 1} for {bands} bands")
        self.bands = bands
        self.thresholds = tuple(int(threshold) for threshold in thresholds)
        self.frozen_bases = frozen_bases
        self.register_buffer("base_weight", self.weight.detach().clone() if frozen_bases else None)
        self.dve_router = (
            Router(
                in_features,
                {"": (in_features, out_features)},
                bands,
                gates=gates,
                reduction=reduction,
                device=device,
            )
            if router
            else None
        )
        self._bases: Tensor | None = None
        self._bases_of: tuple[object, ...] = ()

    @classmethod
    def from_linear(cls, linear: nn.Linear, bands: int = 4, **options: Any) -> Self:
        """A projection around the very parameters of `linear`; `options` are those of the class."""
        device = linear.weight.device
        projection = cls(
            linear.in_features,
            linear.out_features,
            linear.bias is not None,
            bands,
            device="meta",
            dtype=linear.weight.dtype,
            **options,
        )
        projection.weight, projection.bias = linear.weight, linear.bias
        if projection.frozen_bases:
            projection.base_weight = linear.weight.detach().clone()
        if projection.dve_router is not None and device.type != "meta":
            projection.dve_router.to_empty(device=device)
            projection.dve_router.reset_parameters()
        projection.train(linear.training)
        return projection

    def forward(
        self,
        x: Tensor,
        segments: Tensor | None = None,
        *,
        keep: Tensor | None = None,
        gains: Gains | None = None,
    ) -> Tensor:
        """The projection of every token under its own image's weight; the shape of `x` with O for I.

        `x` is (T, I) with the images packed one after another and `segments` (S+1,) the cumulative number of
        their tokens; or (S, N, I), where each row is one image and `segments` must be None. `keep`, shaped
        like `x` without I, marks the tokens that count in an image's mean: padding must not. `gains` replace
        those of the projection's own router.

        Raises `ValueError` for a packed input without segments, and for segments that do not fit.
        """
        tokens, segments = pack(x, segments, self.in_features)
        if gains is None:
            gains = self.gains(tokens, segments, keep)
        y = virtual_width_linear(
            tokens,
            segments,
            self.weight,
            self._connected_bases(),
            gains.band_delta,
            self.bias,
            input_gain=gains.input_gain,
            output_gain=gains.output_gain,
        )
        return y.view(*x.shape[:-1], self.out_features)

    def gains(self, x: Tensor, segments: Tensor | None = None, keep: Tensor | None = None) -> Gains:
        """What the projection's own router chooses for each image; arguments as for `forward`."""
        return self.gains_of(image_means(x, segments, keep))

    def gains_of(self, means: Tensor) -> Gains:
        """What the projection's own router chooses for images with these mean tokens, (S, I)."""
        if self.dve_router is None:
            raise ValueError("this projection has no router of its own; its block must pass `gains`")
        found: dict[str, Gains] = self.dve_router(means)
        return found[""]

    def bases(self) -> Tensor:
        """P_k W for every band, (K, O, I), without a graph; computed again only when the weight has changed.

        Changes are seen through the weight's storage, autograd's version counter and, because fused
        optimizers go past that counter, every step of any optimizer. Code that writes to `weight.data`
        otherwise must call `refresh`.
        """
        source = self.weight if self.base_weight is None else self.base_weight
        version = 0 if source.is_inference() else source._version
        # The weak reference keeps no memory, but its address: a later weight cannot be taken for this one.
        storage = StorageWeakRef(source.untyped_storage())
        steps = _Steps.taken if source.requires_grad else 0
        state = (storage, source.data_ptr(), version, steps, source.dtype, source.device)
        if self._bases is None or self._bases_of != state:
            # The first forward may be a generation: a tensor made in inference mode cannot be trained with.
            with torch.inference_mode(False), torch.no_grad():
                self._bases = split_bands(source.detach(), self.thresholds)
            self._bases_of = state
        return self._bases

    def refresh(self) -> None:
        """Forget the bases, so that the next forward derives them from the weight."""
        self._bases, self._bases_of = None, ()

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.refresh()  # moved to another device, the module would keep them on the old one
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _connected_bases(self) -> Tensor:
        """The bases; while the weight is trained, as a function of it."""
        bases = self.bases()
        if self.base_weight is None and self.weight.requires_grad and torch.is_grad_enabled():
            return follow_weight(self.weight, bases, self.thresholds)
        return bases

    def __getstate__(self) -> dict[str, Any]:
        # Bases are K times the weight and are derived from it: copies and pickles do without.
        return {**self.__dict__, "_bases": None, "_bases_of": ()}

    def extra_repr(self) -> str:
        """What torch prints of the module."""
        return f"{super().extra_repr()}, bands={self.bands}" + (", frozen_bases" if self.frozen_bases else "")


class _Steps:
    """How many optimizer steps this process has taken."""

    taken = 0


def _count_step(*_: Any) -> None:
    _Steps.taken += 1


register_optimizer_step_post_hook(_count_step)


def image_means(x: Tensor, segments: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
    """The mean token of each image, (S, I) in float32; arguments as for `FDProjection.forward`."""
    tokens, segments = pack(x, segments, x.shape[-1])
    return segment_means(tokens, segments, None if keep is None else keep.reshape(-1))


def pack(x: Tensor, segments: Tensor | None, features: int) -> tuple[Tensor, Tensor]:
    """Tokens (T, I) and segments (S+1,), whatever form the input of a projection has; see its forward."""
    if x.shape[-1] != features:
        raise ValueError(f"tokens have {x.shape[-1]} channels; expected {features}")
    if x.ndim == 2:
        if segments is None:
            raise ValueError(
                f"a packed input of {x.shape[0]} tokens came without segments; pass the cumulative token "
                "count of each image, or an input of shape (images, tokens, channels)"
            )
        return x, segments
    if x.ndim != 3:
        raise ValueError(f"expected (tokens, channels) or (images, tokens, channels), found {tuple(x.shape)}")
    if segments is not None:
        raise ValueError("an input of shape (images, tokens, channels) has its segments already; pass none")
    images, length, _ = x.shape
    found = torch.arange(images + 1, dtype=torch.int32, device=x.device) * length
    return x.reshape(images * length, features), found

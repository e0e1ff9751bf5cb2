"""The other rows: our module with its router, the definition, torch.compile, and the published algorithm.

Axis letters: T tokens, S images, I input features, O output features, K bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from skinflow_bench.cases import SHAPES, Case, Setting
from skinflow_bench.rows import Prepared, Row, by_definition, image_by_image, layer
from skinflow_kernels import follow_weight, virtual_width_linear_reference

COMPILED = ("16x1024", "4x4096")
"""Packs, of 1280->3420 with K=4, for which torch.compile is asked on a GPU; each takes long to compile."""


def module_rows() -> Iterator[Row]:
    """FDProjection with its router, by the backend that it takes by itself."""
    for training in ("frozen", "trained"):
        yield Row(
            "module with router",
            training,
            partial(_module, training=training, definition=False),
            partial(_module, training=training, definition=True),
        )


def _module(case: Case, *, training: str, definition: bool) -> Prepared:
    from skinflow_plugins.vision import FDProjection

    linear = nn.Linear(case.columns, case.rows, device=case.device, dtype=case.dtype)
    linear.weight, linear.bias = (
        nn.Parameter(t.detach(), training == "trained") for t in (case.weight, case.bias)
    )
    projection = FDProjection.from_linear(linear, case.setting.bands, thresholds=case.thresholds)
    # A generator of its own, so that the two modules that are compared have the same routers.
    random = torch.Generator(case.device).manual_seed(1)
    routers = {
        name: p
        for name, p in projection.named_parameters()
        if p is not linear.weight and p is not linear.bias
    }
    for parameter in routers.values():
        nn.init.normal_(parameter, std=0.05, generator=random)
    if not definition:
        x = case.x.detach().requires_grad_()
        trained = {"x": x, **{name: p for name, p in projection.named_parameters() if p.requires_grad}}
        return Prepared(lambda: projection(x, case.segments), trained)

    x, weight, bias = (t.detach().double().requires_grad_() for t in (case.x, case.weight, case.bias))
    bases = projection.bases().double()

    def forward() -> Tensor:
        means = torch.stack([image.mean(0) for image in x.split(case.lengths)])
        delta, of_input, of_output = _gains(means, projection.dve_router)
        followed = follow_weight(weight, bases, case.thresholds) if training == "trained" else bases
        return virtual_width_linear_reference(
            x, case.segments, weight, followed, delta, bias, input_gain=of_input, output_gain=of_output
        )

    own = {"weight": weight, "bias": bias} if training == "trained" else {}
    return Prepared(forward, {"x": x, **own, **routers})


def _gains(means: Tensor, router: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What a router chooses for mean tokens (S, I), by its formula in float64: bands, input, output."""
    hidden = means @ router.reduce_weight.double().T
    scale = (hidden.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    hidden = (hidden * scale * router.norm_weight.double()).relu()

    def head(name: str) -> Tensor:
        weight, bias = (getattr(router, f"{name}_{part}").double() for part in ("weight", "bias"))
        return torch.tanh((hidden @ weight.T + bias) / 2)

    return head("band"), 1 + head("input"), 1 + head("output")


def definition_rows() -> Iterator[Row]:
    """The definition as it is written."""
    prepare, expected = layer(virtual_width_linear_reference, "trained"), by_definition("trained")
    yield Row("definition", "trained", prepare, expected, times=image_by_image, cannot=_too_slow)


def _too_slow(setting: Setting) -> str:
    return "" if setting.bands <= 4 else "timed with up to four bands only: it takes long"


def compiled_rows(packs: Sequence[str]) -> Iterator[Row]:
    """torch.compile of the definition, and of the layer as one would write it in batched PyTorch.

    Only for these packs, of the first shape with four bands; `setting_for_check` is such a case itself,
    because every shape is compiled anew.
    """

    def cannot(setting: Setting) -> str:
        if setting.pack in packs and setting.shape == SHAPES[0] and setting.bands == 4:
            return ""
        return f"not compiled here, only for {', '.join(packs)} of {SHAPES[0]} with K=4 (--compile)"

    def unequal(setting: Setting) -> str:
        return "its images are of unequal length" if len(set(setting.lengths)) > 1 else cannot(setting)

    for name, make, refuse in (
        ("compiled definition", _compiled_definition, cannot),
        ("compiled batched", _compiled_batched, unequal),
    ):

        def compute(*arguments: Any, _make: Any = make, **keywords: Any) -> Tensor:
            found: Tensor = _make()(*arguments, **keywords)
            return found

        prepare = layer(compute, "trained")
        yield Row(name, "trained", prepare, by_definition("trained"), times=image_by_image, cannot=refuse)


@cache
def _compiled_definition() -> Callable[..., Tensor]:
    return torch.compile(virtual_width_linear_reference, dynamic=False)


@cache
def _compiled_batched() -> Callable[..., Tensor]:
    inner = torch.compile(batched, dynamic=False)
    return lambda x, segments, *rest, **gains: inner(x, len(segments) - 1, *rest, **gains)


def batched(
    x: Tensor,
    images: int,
    weight: Tensor,
    bases: Tensor,
    band_delta: Tensor,
    bias: Tensor,
    *,
    input_gain: Tensor,
    output_gain: Tensor,
) -> Tensor:
    """The layer for images of equal length, all weights mixed at once: (T, O)."""
    mixed = weight.float() + torch.einsum("sk,koi->soi", band_delta, bases.float())
    gated = (x.view(images, -1, x.shape[1]) * input_gain[:, None]).to(x.dtype)
    y = torch.bmm(gated, mixed.to(x.dtype).mT) * output_gain[:, None] + bias
    return y.to(x.dtype).view(len(x), -1)


def published_rows() -> Iterator[Row]:
    """The published algorithm with its own router; its spectrum is float32, as it is stored."""
    yield Row(
        "published",
        "trained",
        partial(_published, definition=False),
        partial(_published, definition=True),
        operation="published",
        checked_in="fp32",
        times=image_by_image,
        cannot=_cannot_be_published,
    )


def _cannot_be_published(setting: Setting) -> str:
    columns, rows = setting.features
    bins = rows * (columns // 2 + 1)
    return f"{setting.bands} bands do not divide its {bins} bins" if bins % setting.bands else ""


def _published(case: Case, *, definition: bool) -> Prepared:
    from skinflow_kernels import published as theirs

    bands, shape = case.setting.bands, (case.rows, case.columns)
    bins = theirs.published_band_map(*shape, bands).to(case.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        router = theirs.router_parameters(case.columns, case.rows, bands, scale=0.1)
    dtype = torch.float64 if definition else torch.float32
    leaves = {
        name: t.detach().to(case.device, dtype).requires_grad_() for name, t in router.tensors().items()
    }
    router = replace(router, **leaves)
    x, bias = (
        t.detach().to(dtype if definition else case.dtype).requires_grad_() for t in (case.x, case.bias)
    )
    spectrum = theirs.published_spectrum(case.weight.detach().float()).to(dtype).requires_grad_()
    trained = {"x": x, "spectrum": spectrum, "bias": bias, **leaves}
    if not definition:
        autocast: dict[str, Any] = {"dtype": case.dtype, "enabled": case.dtype != torch.float32}

        def forward() -> Tensor:
            with torch.autocast(case.device.type, **autocast):
                return theirs.published_forward_from_spectrum(x, case.segments, spectrum, bias, router, bins)

        return Prepared(forward, trained)

    def by_the_definition() -> Tensor:
        # Its gates multiply bands; ours are what they add to 1.
        full = torch.view_as_complex(spectrum * (min(shape) // 2))
        parts = torch.stack(
            [torch.fft.irfft2(torch.where(bins == k, full, 0), s=shape) for k in range(bands)]
        )
        means = torch.stack([image.mean(0) for image in x.split(case.lengths)])
        channel, filters, kernel = theirs.published_gates(means, router)
        return virtual_width_linear_reference(
            x, case.segments, parts.sum(0), parts, kernel - 1, bias, input_gain=channel, output_gain=filters
        )

    return Prepared(by_the_definition, trained)
